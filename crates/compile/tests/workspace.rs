//! What changes of configuration mean for what is served.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

use std::sync::Arc;

use usher_api::{Document, Secret, SecretName, Selector, read_documents};
use usher_compile::{AuthConfigId, Compiler, SecretChange, State, Update, Workspace};
use usher_engine::{
    PlanIndex, Request, RequestParts,
    observe::Metrics,
    plan::{OnConditionError, PlanKind},
};
use usher_evaluators::{Problem, Resources, Secrets, build_context::Options, resources::http};

/// A workspace and the index that it publishes to.
struct Served {
    workspace: Workspace,
    index: PlanIndex,
    registry: prometheus::Registry,
}

impl Served {
    fn new(superseding: bool) -> Self {
        Self::with_secrets(superseding, Secrets::complete())
    }

    fn with_secrets(superseding: bool, secrets: Secrets) -> Self {
        let http = http::Client::new(http::Options { allow_loopback: true, ..http::Options::default() }).unwrap();
        let resources = Resources::new(http, Selector::default()).unwrap();
        let registry = prometheus::Registry::new();
        let compiler = Compiler {
            resources: Arc::new(resources),
            metrics: Metrics::register(&registry).unwrap(),
            options: Options { evaluator_cache_bytes: 1 << 20, deep_metrics: true, all_namespaces: true },
            on_condition_error: OnConditionError::Undecidable,
            allow_route_lookup: true,
        };
        let workspace = Workspace::new(compiler, superseding, secrets);
        Self { workspace, index: PlanIndex::default(), registry }
    }

    /// Takes documents in, one batch, and says what became of the AuthConfigs.
    fn apply(&mut self, text: &str) -> Vec<(String, State, usize, Vec<String>)> {
        let mut update = Update::default();
        self.set(text, &mut update);
        self.publish(update)
    }

    fn set(&mut self, text: &str, update: &mut Update) {
        for document in read_documents(text) {
            match document {
                Document::AuthConfig(document) => match &document.result {
                    Ok(auth_config) => self.workspace.set_auth_config(auth_config, update),
                    Err(problems) => {
                        let problems = problems
                            .iter()
                            .map(|problem| Problem { path: problem.path.clone(), message: problem.message.clone() })
                            .collect();
                        self.workspace.set_unreadable_auth_config(
                            &document.metadata,
                            &document.claimed,
                            problems,
                            update,
                        );
                    }
                },
                Document::Secret(document) => {
                    let secret = Arc::new(document.result.unwrap());
                    self.workspace.change_secrets([SecretChange::Set(&secret)], update);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn remove(&mut self, name: &str) {
        self.remove_from("default", name);
    }

    fn remove_from(&mut self, namespace: &str, name: &str) {
        let mut update = Update::default();
        let id = AuthConfigId { namespace: namespace.into(), name: name.into() };
        self.workspace.remove_auth_config(&id, &mut update);
        self.publish(update);
    }

    fn publish(&mut self, update: Update) -> Vec<(String, State, usize, Vec<String>)> {
        self.index.publish(update.places);
        let reports = update.reports.into_iter().map(|report| {
            let lost = report.lost.into_iter().map(|contest| contest.place.to_string());
            (report.id.name.to_string(), report.state, report.problems.len(), lost.collect())
        });
        reports.collect()
    }

    /// Removes the Secret `s`, or another one.
    fn remove_secret(&mut self, name: &str, update: &mut Update) {
        self.workspace.change_secrets([SecretChange::Gone { namespace: "default", name }], update);
    }

    /// The verdict on a request without credentials, with the name of who gave it.
    async fn verdict(&self, host: &str) -> String {
        let mut parts = RequestParts { host: host.to_owned(), path: "/".to_owned(), ..RequestParts::default() };
        parts.headers.insert("authorization", "Bearer sesame");
        let request = Request::new(parts);
        let Some(plan) = self.index.find(&request) else { return "nobody".to_owned() };
        let verdict = usher_engine::check(&plan, &request, None, None).await;
        format!("{} {}", plan.name, verdict.code_name())
    }
}

fn secret(text: &str) -> Arc<Secret> {
    match read_documents(text).remove(0) {
        Document::Secret(document) => Arc::new(document.result.unwrap()),
        other => panic!("{other:?}"),
    }
}

fn open(name: &str, host: &str) -> String {
    format!(
        "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {{name: {name}}}\nspec: {{hosts: ['{host}'], authentication: {{anyone: {{anonymous: {{}}}}}}}}\n---\n"
    )
}

/// Loads as a document, but does not compile.
fn broken(name: &str, host: &str) -> String {
    format!(
        "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {{name: {name}}}\nspec: {{hosts: ['{host}'], when: [{{predicate: 'nonsense ('}}, {{patternRef: missing}}]}}\n---\n"
    )
}

#[tokio::test]
async fn what_never_compiled_claims_its_hosts_and_answers_undecidable() {
    let mut served = Served::new(false);
    served.apply(&open("wide", "*.pets.test"));
    let reports = served.apply(&broken("pets", "api.other.test"));
    assert_eq!(reports, [("pets".to_owned(), State::Nothing, 2, vec![])]);
    assert_eq!(served.verdict("api.other.test").await, "pets UNAVAILABLE");
    let reports = served.apply("apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {name: typo}\nspec: {hosts: [typo.test], athentication: {}}\n");
    assert_eq!(reports, [("typo".to_owned(), State::Nothing, 1, vec![])]);
    assert_eq!(served.verdict("typo.test").await, "typo UNAVAILABLE");
    served.apply(&open("pets", "api.other.test"));
    assert_eq!(served.verdict("api.other.test").await, "pets OK");
}

#[tokio::test]
async fn the_last_good_version_stays_in_force_untouched() {
    let mut served = Served::new(false);
    served.apply(&open("pets", "api.pets.test"));
    let reports = served.apply(&broken("pets", "elsewhere.test"));
    assert_eq!(reports, [("pets".to_owned(), State::Earlier, 2, vec![])]);
    assert_eq!(served.verdict("api.pets.test").await, "pets OK");
    assert_eq!(served.verdict("elsewhere.test").await, "nobody");
    served.remove("pets");
    assert_eq!(served.verdict("api.pets.test").await, "nobody");
}

#[tokio::test]
async fn policies_make_one_plan_and_a_broken_one_breaks_it_until_it_compiles() {
    let mut served = Served::new(false);
    let policy = |name: &str, spec: &str| {
        let text = format!(
            "apiVersion: envoy.kyverno.io/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        );
        let documents = read_documents(&text);
        let [Document::AuthorizationPolicy(document)] = documents.as_slice() else { panic!("{text}") };
        document.result.clone().unwrap()
    };
    let allow = "{allow: [{response: envoy.Allowed().Response()}]}";
    let deny = "{deny: [{response: envoy.Denied(401).Response()}]}";
    let broken = "{deny: [{response: envoy.Denied(}]}";
    let request = Request::new(RequestParts::default());
    assert!(served.workspace.default_plan().is_none());
    for (name, spec, state, expected) in [
        ("b", Some(allow), State::Current, "OK"),
        ("a", Some(broken), State::Nothing, "UNAVAILABLE"),
        ("a", Some(deny), State::Current, "UNAUTHENTICATED"),
        ("a", Some(broken), State::Earlier, "UNAUTHENTICATED"),
        ("a", None, State::Gone, "OK"),
        ("b", None, State::Gone, "none"),
    ] {
        let mut update = Update::default();
        match spec {
            Some(spec) => served.workspace.set_authorization_policy(&policy(name, spec), &mut update),
            None => served.workspace.remove_authorization_policy(name, &mut update),
        }
        let [report] = update.policies.as_slice() else { panic!("one report of {name}") };
        let is_told = report.problems.iter().all(|problem| problem.path == "spec.deny[0].response");
        assert_eq!((report.name.as_str(), report.state, is_told), (name, state, true));
        assert_eq!(report.problems.is_empty(), spec != Some(broken));
        let verdict = match served.workspace.default_plan() {
            Some(plan) => usher_engine::check(&plan, &request, None, None).await.code_name(),
            None => "none",
        };
        assert_eq!(verdict, expected, "{name} {spec:?}");
    }
    let mut update = Update::default();
    let problem = Problem { path: "kind".to_owned(), message: "is not supported".to_owned() };
    served.workspace.set_unreadable_authorization_policy("c", vec![problem], &mut update);
    let plan = served.workspace.default_plan().unwrap();
    assert!(matches!(&plan.kind, PlanKind::Broken(why) if why == "AuthorizationPolicy `c`: kind: is not supported"));
    served.workspace.remove_authorization_policy("nobody", &mut update);
    assert_eq!(update.policies.len(), 1);
}

#[test]
fn an_update_says_which_plan_of_an_auth_config_is_in_force() {
    let mut served = Served::new(false);
    let id = AuthConfigId { namespace: "default".into(), name: "pets".into() };
    let mut changed = |text: Option<String>| -> Vec<Option<&'static str>> {
        let mut update = Update::default();
        match text {
            Some(text) => served.set(&text, &mut update),
            None => served.workspace.remove_auth_config(&id, &mut update),
        }
        assert!(update.plans.iter().all(|(changed, _)| *changed == id));
        let kind = |plan: &usher_engine::Plan| match plan.kind {
            PlanKind::Rules(_) => "rules",
            PlanKind::Policy(_) => "policy",
            PlanKind::Pending(_) => "pending",
            PlanKind::Broken(_) => "broken",
        };
        update.plans.iter().map(|(_, plan)| plan.as_deref().map(kind)).collect()
    };
    assert_eq!(changed(Some(broken("pets", "a.test"))), [Some("broken")]);
    assert_eq!(changed(Some(open("pets", "a.test"))), [Some("rules")]);
    // The last good version stays in force.
    assert_eq!(changed(Some(broken("pets", "a.test"))), []);
    assert_eq!(changed(None), [None]);
    assert_eq!(changed(None), []);
}

#[tokio::test]
async fn the_loser_of_a_host_takes_over_when_the_winner_goes() {
    let mut served = Served::new(false);
    served.apply(&open("first", "api.pets.test"));
    let reports = served.apply(&open("second", "api.pets.test"));
    let (second, first) = ("second".to_owned(), "first".to_owned());
    assert_eq!(
        reports,
        [(second, State::Current, 0, vec!["api.pets.test".to_owned()]), (first, State::Current, 0, Vec::new())]
    );
    assert_eq!(served.verdict("api.pets.test").await, "first OK");
    // A change of the winner does not cost it the host.
    served.apply(&open("first", "API.pets.test"));
    assert_eq!(served.verdict("api.pets.test").await, "first OK");
    served.remove("first");
    assert_eq!(served.verdict("api.pets.test").await, "second OK");
}

/// An AuthConfig of a namespace with this specification.
fn of(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {{namespace: {namespace}, name: {name}}}\nspec: {spec}\n---\n"
    )
}

#[tokio::test]
async fn a_service_is_found_by_all_its_names() {
    let mut served = Served::new(false);
    let aliases = |port| format!("{{hosts: [shop.web.svc.cluster.local{port}], hostAliases: kubernetesService}}");
    served.apply(&of("web", "shop", &aliases("")));
    for host in ["shop", "shop:8000", "Shop.web", "shop.web.svc", "shop.web.svc:80", "shop.web.svc.cluster.local.:8000"]
    {
        assert_eq!(served.verdict(host).await, "shop OK", "{host}");
    }
    for host in ["shop.other", "web", "a.shop", "shop.web.svc.cluster", "shop.web.svc.other.local"] {
        assert_eq!(served.verdict(host).await, "nobody", "{host}");
    }

    // Another one of that name, in another namespace: the short name says too little.
    let other = "{hosts: [shop.other.svc.cluster.local], hostAliases: kubernetesService, authentication: {k: {apiKey: {selector: {}}}}}";
    let reports = served.apply(&of("other", "theirs", other));
    let lost = |name: &str| (name.to_owned(), State::Current, 0, vec!["shop".to_owned()]);
    assert_eq!(reports, [lost("theirs"), lost("shop")]);
    assert_eq!(served.verdict("shop:8000").await, "shop UNAVAILABLE");
    assert_eq!(served.verdict("shop.web").await, "shop OK");
    assert_eq!(served.verdict("shop.other").await, "theirs UNAUTHENTICATED");
    // The older one says so expressly, and has it.
    served.apply(&of("web", "shop", "{hosts: [shop.web.svc.cluster.local, shop], hostAliases: kubernetesService}"));
    assert_eq!(served.verdict("shop").await, "shop OK");
    served.apply(&of("web", "shop", "{hosts: [shop.web.svc.cluster.local]}"));
    assert_eq!(served.verdict("shop").await, "theirs UNAUTHENTICATED");

    // Names that say what is meant are the older one's, with any port, and whoever lists them.
    served.apply(&of("web", "shop", &aliases("")));
    let evil = "{hosts: [shop, shop.web, shop.web.svc, 'shop.web:80', 'shop:80', shop.web.svc.x], hostAliases: kubernetesService}";
    served.apply(&of("evil", "evil", evil));
    for (host, expected) in [
        ("shop", "shop UNAVAILABLE"),
        ("shop:80", "shop UNAVAILABLE"),
        ("shop.web:80", "shop OK"),
        ("shop.web.svc", "shop OK"),
    ] {
        assert_eq!(served.verdict(host).await, expected, "{host}");
    }
    served.remove_from("other", "theirs");
    // One lists what is short for a host of the other: still nobody's, and the words fit that, too.
    let request = Request::new(RequestParts { host: "shop:80".to_owned(), ..RequestParts::default() });
    assert!(matches!(
        &served.index.find(&request).unwrap().kind,
        PlanKind::Broken(why) if why == "`shop` is a short name that several AuthConfigs claim"
    ));
    served.apply(&of("other", "theirs", other));
    served.remove_from("evil", "evil");
    assert_eq!(served.verdict("shop").await, "shop UNAVAILABLE");
    served.remove_from("other", "theirs");
    assert_eq!(served.verdict("shop").await, "shop OK");

    // A port would take requests from others that have the name.
    let reports = served.apply(&of("web", "ported", &aliases(":8000")));
    assert_eq!(reports, [("ported".to_owned(), State::Nothing, 1, vec![])]);
    // One that cannot be read holds its names, too.
    let typo = "{hosts: [a.web.svc.cluster.local], hostAliases: kubernetes, when: {}}";
    served.apply(&of("web", "typo", typo));
    for host in ["a", "a.web", "a.web.svc.cluster.local"] {
        assert_eq!(served.verdict(host).await, "typo UNAVAILABLE", "{host}");
    }
}

#[tokio::test]
async fn a_route_leads_to_the_one_that_claims_it() {
    let mut served = Served::new(false);
    let found = |served: &Served, host: &str, route: &str| {
        let context_extensions = [("route".to_owned(), route.to_owned())].into();
        let parts = RequestParts { host: host.to_owned(), context_extensions, ..RequestParts::default() };
        served.index.find(&Request::new(parts)).map_or("nobody".to_owned(), |plan| plan.name.to_string())
    };
    served.apply(&open("everything", "*"));
    served.apply(&of("web", "shop", "{hosts: [], routes: [{name: shop}]}"));
    let reports = served.apply(&of(
        "web",
        "orders",
        "{hosts: [orders.test], routes: [{name: shop}, {name: shop, sectionName: orders}]}",
    ));
    let lost = vec!["orders.test".to_owned(), "HTTPRoute/web/shop".to_owned()];
    assert_eq!(reports[0], ("orders".to_owned(), State::Current, 0, lost));
    // A namespace is not another's to claim.
    served.apply(&of("evil", "evil", "{hosts: [], routes: [{name: shop}]}"));
    assert_eq!(found(&served, "a.test", "HTTPRoute/web/shop"), "shop");
    assert_eq!(found(&served, "a.test", "HTTPRoute/web/shop/orders"), "orders");
    assert_eq!(found(&served, "a.test", "HTTPRoute/web/shop/other"), "shop");
    assert_eq!(found(&served, "a.test", "GRPCRoute/web/shop"), "everything");
    // The next one in line, and what cannot be compiled.
    served.apply(&of("web", "shop", "{hosts: [], routes: [{name: cart}]}"));
    assert_eq!(found(&served, "a.test", "HTTPRoute/web/shop"), "orders");
    served.apply(&of("web", "typo", "{hosts: [], routes: [{name: pay}], wen: []}"));
    assert_eq!(found(&served, "a.test", "HTTPRoute/web/pay"), "typo");
    for (name, reference) in [
        ("kind", "{kind: HttpRoute, name: kind}"),
        ("section", "{name: section, section: a}"),
        ("empty", "{name: empty, sectionName: ''}"),
    ] {
        served.apply(&of("web", name, &format!("{{hosts: [], routes: [{reference}]}}")));
        assert_eq!(found(&served, "a.test", &format!("HTTPRoute/web/{name}")), name);
    }
    served.apply(&of("web", "broken", "{hosts: [], routes: [{name: ship}], when: [{patternRef: missing}]}"));
    assert_eq!(found(&served, "a.test", "HTTPRoute/web/ship"), "broken");
}

#[tokio::test]
async fn an_api_key_works_as_soon_as_its_secret_is_there_and_no_longer() {
    let mut served = Served::new(false);
    served.apply("apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {name: keys}\nspec: {hosts: [keys.test], authentication: {keys: {apiKey: {selector: {matchLabels: {app: keys}}}}}}\n");
    assert_eq!(served.verdict("keys.test").await, "keys UNAUTHENTICATED");
    served.apply(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: one, labels: {app: keys}}\nstringData: {api_key: sesame}\n",
    );
    assert_eq!(served.verdict("keys.test").await, "keys OK");
    served.remove_secret("one", &mut Update::default());
    assert_eq!(served.verdict("keys.test").await, "keys UNAUTHENTICATED");
}

/// An AuthConfig `named` that reads the Secret `s` for its rule.
fn naming(rule: &str) -> String {
    format!(
        "apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {{name: named}}\nspec: {{hosts: [named.test], {rule}}}\n"
    )
}

const CREDENTIAL: &str = "metadata: {m: {http: {url: 'http://127.0.0.1:1/', sharedSecretRef: {name: s, key: k}}}}";
const TRUST: &str = "authentication: {t: {jwt: {secretRef: {name: s, key: k}}}, u: {anonymous: {}, priority: 1}}";
const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: one}\n";

#[tokio::test]
async fn a_secret_that_is_named_may_come_later() {
    for rule in [CREDENTIAL, TRUST] {
        let mut served = Served::new(false);
        let reports = served.apply(&naming(rule));
        assert_eq!(reports, [("named".to_owned(), State::Nothing, 1, Vec::new())], "{rule}");
        assert_eq!(served.verdict("named.test").await, "named UNAVAILABLE");
        let reports = served.apply(SECRET);
        assert_eq!(reports, [("named".to_owned(), State::Current, 0, Vec::new())], "{rule}");
        assert_eq!(served.verdict("named.test").await, "named OK");
        // The same content, other Secrets, and one of the same name in another namespace, concern nobody.
        assert_eq!(served.apply(SECRET), []);
        assert_eq!(served.apply(&SECRET.replace("name: s", "name: other")), []);
        assert_eq!(served.apply(&SECRET.replace("name: s", "name: s, namespace: other")), []);
        assert_eq!(served.apply(&SECRET.replace("one", "two")).len(), 1);
        served.remove("named");
        assert_eq!(served.apply(SECRET), []);
    }
}

#[tokio::test]
async fn without_the_secret_that_told_whom_to_believe_nobody_is_believed() {
    for (rule, state, verdict) in
        [(CREDENTIAL, State::Earlier, "named OK"), (TRUST, State::Nothing, "named UNAVAILABLE")]
    {
        let mut served = Served::new(false);
        served.apply(&format!("{SECRET}---\n{}", naming(rule)));
        assert_eq!(served.verdict("named.test").await, "named OK");
        let mut update = Update::default();
        served.remove_secret("s", &mut update);
        let reports: Vec<_> = update.reports.iter().map(|report| (report.state, report.problems.len())).collect();
        assert_eq!(reports, [(state, 1)], "{rule}");
        served.index.publish(update.places);
        assert_eq!(served.verdict("named.test").await, verdict, "{rule}");
        served.apply(SECRET);
        assert_eq!(served.verdict("named.test").await, "named OK", "{rule}");
    }
}

/// An earlier version that serves on, because the last one does not compile or cannot be read, believes nobody with what
/// a Secret does not say any more.
#[tokio::test]
async fn an_earlier_version_does_not_outlive_whom_it_believed() {
    let valid = format!("{SECRET}---\n{}", naming(TRUST));
    let unreadable = naming("authentication: 7");
    let (emptied, labelled) =
        (SECRET.replace("k: one", "other: one"), SECRET.replace("name: s", "name: s, labels: {a: b}"));
    for (last, after, verdict) in [
        (naming(TRUST), Some(&*emptied), "named UNAVAILABLE"),
        (broken("named", "named.test"), Some(&emptied), "named UNAVAILABLE"),
        (broken("named", "named.test"), None, "named UNAVAILABLE"),
        (broken("named", "other.test"), None, "named UNAVAILABLE"),
        (broken("named", "named.test"), Some(&labelled), "named OK"),
        (unreadable.clone(), Some(&emptied), "named UNAVAILABLE"),
        (unreadable.clone(), None, "named UNAVAILABLE"),
        (unreadable.clone(), Some(&labelled), "named OK"),
    ] {
        let mut served = Served::new(false);
        served.apply(&valid);
        served.apply(&last);
        assert_eq!(served.verdict("named.test").await, "named OK", "{last}");
        match after {
            Some(secret) => _ = served.apply(secret),
            None => {
                let mut update = Update::default();
                served.remove_secret("s", &mut update);
                served.publish(update);
            }
        }
        assert_eq!(served.verdict("named.test").await, verdict, "{last} {after:?}");
        served.apply(&valid);
        assert_eq!(served.verdict("named.test").await, "named OK", "{last} {after:?}");
    }
}

/// What is named, and no longer.
fn named(update: &Update) -> Vec<(String, bool)> {
    update.named_secrets.iter().map(|(name, is_named)| (name.to_string(), *is_named)).collect()
}

#[tokio::test]
async fn a_secret_of_which_nobody_knows_yet_is_waited_for() {
    let (name, secret) = (SecretName::new("default", "s"), secret(SECRET));
    let is_named = |is_named: bool| vec![("default/s".to_owned(), is_named)];
    for rule in [CREDENTIAL, TRUST] {
        let mut served = Served::with_secrets(false, Secrets::on_demand());
        let say = |served: &mut Served, secret: Option<&Arc<Secret>>| {
            let mut update = Update::default();
            served.workspace.change_secrets([SecretChange::Named(&name, secret)], &mut update);
            served.publish(update).into_iter().map(|(_, state, _, _)| state).collect::<Vec<_>>()
        };
        assert_eq!(say(&mut served, Some(&secret)), [], "nobody has asked");

        let mut update = Update::default();
        served.set(&naming(rule), &mut update);
        assert_eq!(named(&update), is_named(true));
        let plan = update.plans.last().and_then(|(_, plan)| plan.clone()).unwrap();
        assert!(matches!(&plan.kind, PlanKind::Pending(why) if why.contains("Secret")), "{plan:?}");
        assert_eq!(served.publish(update), [("named".to_owned(), State::Waiting, 0, Vec::new())]);
        assert!(served.workspace.is_waiting());
        assert_eq!(served.verdict("named.test").await, "named UNAVAILABLE", "{rule}");

        assert_eq!(say(&mut served, None), [State::Nothing], "there is none");
        assert!(!served.workspace.is_waiting());
        assert_eq!(say(&mut served, None), []);
        assert_eq!(say(&mut served, Some(&secret)), [State::Current]);
        assert_eq!(served.verdict("named.test").await, "named OK");

        // What is served serves on while the next version waits; keys and labels of the Secret are nobody's business.
        let mut update = Update::default();
        served.set(&naming(rule).replace("name: s", "name: t"), &mut update);
        assert_eq!(named(&update), [("default/t".to_owned(), true)]);
        assert_eq!(served.publish(update), []);
        assert!(served.workspace.is_waiting());
        assert_eq!(served.verdict("named.test").await, "named OK");
        let mut update = Update::default();
        served.workspace.change_secrets([SecretChange::Named(&SecretName::new("default", "t"), None)], &mut update);
        assert_eq!(served.publish(update), [("named".to_owned(), State::Earlier, 1, Vec::new())]);

        // And what was served goes with the Secret that it trusted.
        let after = if rule == TRUST { State::Nothing } else { State::Earlier };
        assert_eq!(say(&mut served, None), [after]);

        let mut update = Update::default();
        served.set(&open("named", "named.test"), &mut update);
        assert!(!named(&update).is_empty() && named(&update).iter().all(|(_, is_named)| !is_named));
        served.publish(update);
        assert_eq!(say(&mut served, Some(&secret)), [], "nobody asks any more");
        let mut update = Update::default();
        served.set(&naming(rule), &mut update);
        assert_eq!(served.publish(update), [], "an earlier version serves on, and the Secret is asked for anew");
        assert!(served.workspace.is_waiting());
        served.remove("named");
        assert!(!served.workspace.is_waiting());
    }
}

#[tokio::test]
async fn many_changes_of_secrets_compile_an_auth_config_once() {
    let rule = "authentication: {t: {jwt: {secretRef: {name: s, key: k}}}, u: {jwt: {secretRef: {name: t, key: k}}}}";
    let mut served = Served::new(false);
    let (one, two) = (secret(SECRET), secret(&SECRET.replace("name: s", "name: t")));
    served.apply(&naming(rule));
    let mut update = Update::default();
    served.workspace.change_secrets([SecretChange::Set(&one), SecretChange::Set(&two)], &mut update);
    assert_eq!(update.plans.len(), 1);
    assert_eq!(served.publish(update), [("named".to_owned(), State::Current, 0, Vec::new())]);
}

#[tokio::test]
async fn a_labelled_secret_is_a_key_and_nothing_to_name() {
    let mut served = Served::with_secrets(false, Secrets::on_demand());
    served.apply("apiVersion: authorino.kuadrant.io/v1beta3\nkind: AuthConfig\nmetadata: {name: keys}\nspec: {hosts: [keys.test], authentication: {keys: {apiKey: {selector: {matchLabels: {app: keys}}}}}}\n");
    let key = secret(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s, labels: {app: keys}}\nstringData: {api_key: sesame, k: one}\n",
    );
    served.workspace.change_secrets([SecretChange::Labelled(&key)], &mut Update::default());
    assert_eq!(served.verdict("keys.test").await, "keys OK");
    assert_eq!(served.apply(&naming(CREDENTIAL)), [("named".to_owned(), State::Waiting, 0, Vec::new())]);
    let gone = SecretChange::LabelledGone { namespace: "default", name: "s" };
    served.workspace.change_secrets([gone], &mut Update::default());
    assert_eq!(served.verdict("keys.test").await, "keys UNAUTHENTICATED");
}

#[tokio::test]
async fn both_sides_of_a_contest_are_told() {
    let mut served = Served::new(false);
    let contests = |served: &mut Served, text: Option<&str>| {
        let mut update = Update::default();
        match text {
            Some(text) => served.set(text, &mut update),
            None => {
                let first = AuthConfigId { namespace: "default".into(), name: "first".into() };
                served.workspace.remove_auth_config(&first, &mut update);
            }
        }
        let shown = |contests: &[usher_compile::Contest]| {
            let names = contests.iter().map(|it| format!("{} {}", it.place, it.other.as_ref().unwrap().name));
            names.collect::<Vec<_>>().join(", ")
        };
        let reports = update.reports.iter().map(|report| {
            let (taken, wanted) = (shown(&report.lost), shown(&report.wanted_hosts));
            format!("{} news={} taken={taken} wanted={wanted}", report.id.name, report.is_news)
        });
        reports.collect::<Vec<_>>()
    };
    assert_eq!(contests(&mut served, Some(&open("first", "*.pets.test"))), ["first news=true taken= wanted="]);
    assert_eq!(
        contests(&mut served, Some(&open("second", "a.pets.test"))),
        ["second news=true taken=a.pets.test first wanted=", "first news=false taken= wanted=a.pets.test second"]
    );
    // A change that leaves the hosts alone concerns nobody else.
    assert_eq!(
        contests(&mut served, Some(&broken("second", "a.pets.test"))),
        ["second news=true taken=a.pets.test first wanted="]
    );
    assert_eq!(contests(&mut served, None), ["first news=true taken= wanted=", "second news=false taken= wanted="]);
}

#[tokio::test]
async fn a_namesake_inherits_nothing() {
    let mut served = Served::new(false);
    let with = |text: String, uid: &str, created: &str| {
        text.replace("metadata: {", &format!("metadata: {{uid: {uid}, creationTimestamp: '{created}', "))
    };
    served.apply(&with(open("first", "a.test"), "u1", "2026-01-01T00:00:00Z"));
    served.apply(&with(open("second", "a.test"), "u2", "2026-01-02T00:00:00Z"));
    assert_eq!(served.verdict("a.test").await, "first OK");
    let reports = served.apply(&with(broken("first", "a.test"), "u3", "2026-01-03T00:00:00Z"));
    assert_eq!(
        reports,
        [
            ("first".to_owned(), State::Nothing, 2, vec!["a.test".to_owned()]),
            ("second".to_owned(), State::Current, 0, Vec::new()),
        ]
    );
    assert_eq!(served.verdict("a.test").await, "second OK");
}

#[tokio::test]
async fn what_was_unknown_at_first_is_not_older_than_everybody() {
    let mut served = Served::new(false);
    let with = |text: String, created: &str| {
        text.replace("metadata: {", &format!("metadata: {{uid: u-{created}, creationTimestamp: '{created}', "))
    };
    let id = usher_api::ObjectMeta { namespace: "default".to_owned(), name: "late".to_owned(), ..Default::default() };
    let problem = vec![Problem { path: String::new(), message: "it is not JSON".to_owned() }];
    let mut update = Update::default();
    served.workspace.set_unreadable_auth_config(&id, &usher_api::Claimed::default(), problem, &mut update);
    served.publish(update);
    served.apply(&with(open("early", "a.test"), "2026-01-01T00:00:00Z"));
    served.apply(&with(open("late", "a.test"), "2026-01-02T00:00:00Z"));
    assert_eq!(served.verdict("a.test").await, "early OK");
}

#[tokio::test]
async fn whoever_is_seen_first_a_host_of_the_same_age_has_the_same_owner() {
    let created = |text: String| text.replace("metadata: {", "metadata: {creationTimestamp: '2026-01-01T00:00:00Z', ");
    for names in [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"]] {
        let mut served = Served::new(false);
        for name in names {
            served.apply(&created(open(name, "x.test")));
        }
        assert_eq!(served.verdict("x.test").await, "a OK", "{names:?}");
        served.remove("a");
        assert_eq!(served.verdict("x.test").await, "b OK", "{names:?}");
        served.remove("b");
        assert!(!served.workspace.is_empty());
        served.remove("c");
        assert!(served.workspace.is_empty());
    }
}

#[tokio::test]
async fn the_generation_that_is_served_is_told() {
    let mut served = Served::new(false);
    let mut generations = |text: String, generation: u8| {
        let mut update = Update::default();
        served.set(&text.replace("metadata: {", &format!("metadata: {{generation: {generation}, ")), &mut update);
        update.reports.iter().map(|it| (it.given.generation, it.served_generation)).collect::<Vec<_>>()
    };
    assert_eq!(generations(broken("a", "a.test"), 1), [(Some(1), None)]);
    assert_eq!(generations(open("a", "a.test"), 2), [(Some(2), Some(2))]);
    assert_eq!(generations(broken("a", "a.test"), 3), [(Some(3), Some(2))]);
    assert_eq!(generations(open("a", "a.test"), 4), [(Some(4), Some(4))]);
}

#[tokio::test]
async fn series_go_with_their_configuration() {
    let mut served = Served::new(false);
    served.apply(&open("pets", "api.pets.test"));
    assert_eq!(served.verdict("api.pets.test").await, "pets OK");
    let text = |served: &Served| prometheus::TextEncoder::new().encode_to_string(&served.registry.gather()).unwrap();
    assert!(text(&served).contains(r#"evaluator_name="anyone""#));
    served.remove("pets");
    assert!(!text(&served).contains("pets"));
}

#[test]
fn everything_that_is_wrong_is_reported_with_its_path() {
    let mut served = Served::new(false);
    let text = r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: bad}
spec:
  hosts: [good.test, "bad host"]
  patterns: {p: [{selector: a, operator: matches, value: "(["}]}
  when: [{predicate: "request.method"}, {patternRef: q}]
  authentication:
    introspected: {oauth2Introspection: {endpoint: "ftp://x", credentialsRef: {name: none}}}
  metadata: {m: {userInfo: {identitySource: nobody}}}
  authorization:
    rego: {opa: {rego: "allow if {"}}
    later: {spicedb: {endpoint: "x:1"}}
  response:
    unauthorized: {message: {expression: "nope"}, headers: {"bad name": {value: x}}}
    success: {headers: {host: {plain: {value: x}}}}
  callbacks: {c: {http: {url: "http://x", method: CONNECT}}}
"#;
    let mut update = Update::default();
    for document in read_documents(text) {
        let Document::AuthConfig(document) = document else { panic!("{document:?}") };
        served.workspace.set_auth_config(&document.result.unwrap(), &mut update);
    }
    let paths: Vec<_> =
        update.reports.iter().flat_map(|report| &report.problems).map(|problem| problem.path.as_str()).collect();
    for expected in [
        "spec.hosts[1]",
        "spec.patterns.p[0].value",
        "spec.when[1].patternRef",
        "spec.authorization.rego.opa.rego",
        "spec.response.unauthorized.message.expression",
        "spec.response.unauthorized.headers[\"bad name\"]",
    ] {
        assert!(paths.contains(&expected), "{expected} among {paths:?}");
    }
    for expected in [
        "spec.authentication.introspected",
        "spec.metadata.m",
        "spec.authorization.later",
        "spec.response.success.headers.host",
        "spec.callbacks.c",
    ] {
        assert!(paths.iter().any(|path| path.starts_with(expected)), "{expected} among {paths:?}");
    }
}

#[tokio::test]
async fn odd_requests_get_an_answer_and_harm_nobody() {
    let mut served = Served::new(false);
    served.apply(&open("other", "other.test"));
    served.apply(
        r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {name: odd}
spec:
  hosts: [odd.test]
  authentication:
    keys: {apiKey: {selector: {matchLabels: {app: odd}}}}
    cookie: {apiKey: {selector: {matchLabels: {app: odd}}}, credentials: {cookie: {name: key}}}
    query: {apiKey: {selector: {matchLabels: {app: odd}}}, credentials: {queryString: {name: key}}}
    token: {jwt: {jwksUrl: "http://127.0.0.1:9/none"}, credentials: {customHeader: {name: x-token}}}
  authorization:
    path: {patternMatching: {patterns: [{predicate: "request.url_path.startsWith('/')"}, {selector: request.headers.@keys.#, operator: neq, value: "0"}]}}
    rego: {opa: {rego: "allow { startswith(input.request.path, \"/\") }"}}
"#,
    );
    served.apply(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: one, labels: {app: odd}}\nstringData: {api_key: sesame}\n",
    );
    let many = (0..1000).map(|number| (format!("x-{number}"), "v".repeat(50)));
    let with = |more: &[(&str, String)]| {
        let mut parts = RequestParts { host: "odd.test".to_owned(), path: "/".to_owned(), ..RequestParts::default() };
        parts.headers.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        parts
    };
    let key = ("authorization", "Bearer sesame".to_owned());
    let cases = [
        ("a known key", with(std::slice::from_ref(&key)), "OK"),
        (
            "1,000 headers",
            RequestParts {
                headers: many.chain([("authorization".to_owned(), "Bearer sesame".to_owned())]).collect(),
                ..with(&[])
            },
            "OK",
        ),
        ("a key of 1 MB", with(&[("authorization", format!("Bearer {}", "k".repeat(1 << 20)))]), "UNAUTHENTICATED"),
        ("a token of 1 MB", with(&[("x-token", format!("{0}.{0}.{0}", "a".repeat(1 << 18)))]), "UNAUTHENTICATED"),
        ("1 MB of cookies", with(&[("cookie", "a=b; ".repeat(200_000))]), "UNAUTHENTICATED"),
        ("bytes that were no text", with(&[("authorization", "Bearer \u{fffd}!\u{0}".to_owned())]), "UNAUTHENTICATED"),
        (
            "a path that cannot be decoded",
            RequestParts { path: "/%zz%".to_owned(), ..with(std::slice::from_ref(&key)) },
            "OK",
        ),
        (
            "a path of 1 MB",
            RequestParts { path: "/?key=".to_owned() + &"%41".repeat(350_000), ..with(&[]) },
            "UNAUTHENTICATED",
        ),
        ("no path", RequestParts { path: String::new(), ..with(std::slice::from_ref(&key)) }, "PERMISSION_DENIED"),
        (
            "control characters",
            RequestParts { method: "\u{0}\r\n".to_owned(), path: "/\u{0}\r\n".to_owned(), ..with(&[key]) },
            "OK",
        ),
    ];
    let usual = Request::new(RequestParts { host: "odd.test".to_owned(), ..RequestParts::default() });
    for (what, parts, expected) in cases {
        let plan = served.index.find(&usual).unwrap();
        let verdict = usher_engine::check(&plan, &Request::new(parts), None, None).await;
        assert_eq!(verdict.code_name(), expected, "{what}: {verdict:?}");
        assert_eq!(served.verdict("other.test").await, "other OK", "after {what}");
    }
}
