//! Configurations that anybody with write access to a namespace can make: read, checked, compiled.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use usher_api::{AuthConfig, AuthConfigDocument, Document, Problem, SecretDocument, read_documents};
use usher_compile::Compiler;
use usher_evaluators::{SecretReader, Secrets};

static COMPILER: LazyLock<Compiler> = LazyLock::new(|| usher_fuzz::compiler(false));

fuzz_target!(|text: &str| {
    let documents = read_documents(text);
    let mut secrets = Secrets::complete();
    for document in &documents {
        if let Document::Secret(document) = document {
            keep(document, &mut secrets);
        }
    }
    for document in documents {
        match document {
            Document::AuthConfig(document) => {
                document.lines.find("spec.authorization.a.opa.rego");
                compile(&document.result, &secrets);
            }
            Document::AuthorizationPolicy(document) => match &document.result {
                Ok(policy) => usher_policy::compile(policy).err().iter().for_each(|problems| are_told(problems)),
                Err(problems) => are_told(problems),
            },
            Document::Secret(_) => {}
            Document::Ignored(document) => assert!(!document.kind.is_empty()),
            Document::Unreadable(document) => are_told(&document.problems),
        }
    }
    // The same text, had it come from the Kubernetes API.
    if let Ok(object) = serde_json::from_str::<serde_json::Value>(text) {
        compile(&AuthConfigDocument::from_kubernetes(object.clone()).result, &secrets);
        keep(&SecretDocument::from_kubernetes(object), &mut secrets);
    }
});

fn compile(result: &Result<AuthConfig, Vec<Problem>>, secrets: &Secrets) {
    match result {
        Ok(config) => match COMPILER.compile(config, &SecretReader::new(secrets, &config.metadata.namespace)) {
            Ok(compiled) => {
                for host in &compiled.places.hosts {
                    let text = host.to_string();
                    assert_eq!(usher_engine::host::HostPattern::parse(&text).as_ref(), Ok(host), "{text}");
                }
            }
            Err(refused) => assert!(refused.problems.iter().all(|problem| !problem.message.is_empty())),
        },
        Err(problems) => are_told(problems),
    }
}

fn keep(document: &SecretDocument, secrets: &mut Secrets) {
    match &document.result {
        Ok(secret) => {
            let (namespace, name) = (&secret.metadata.namespace, &secret.metadata.name);
            COMPILER.resources.api_keys.apply(secret);
            COMPILER.resources.api_keys.remove(namespace, name);
            COMPILER.resources.authorities.apply(secret);
            COMPILER.resources.authorities.remove(namespace, name);
            secrets.insert(Arc::new(secret.clone()));
        }
        Err(problems) => are_told(problems),
    }
}

/// What is refused is refused with reasons.
fn are_told(problems: &[Problem]) {
    assert!(!problems.is_empty());
    assert!(problems.iter().all(|problem| !problem.to_string().is_empty()));
}
