//! Tokens and access that the cluster reviews.

use super::{auth_config, start, until_answer_with};
use crate::support::kubernetes::Kubernetes;

#[test]
fn tokens_and_access_are_reviewed_by_the_cluster() {
    let kubernetes = Kubernetes::start();
    let (user, token) = kubernetes.service_account("reader", "talker");
    let (_, other) = kubernetes.service_account("stranger", "talker");
    let (_, elsewhere) = kubernetes.service_account("visitor", "somewhere-else");
    kubernetes.allow(&user, "greeting");
    let usher = start(&kubernetes);

    let authentication = "authentication: {token: {kubernetesTokenReview: {audiences: [talker]}}}";
    let authorization = format!(
        "{authentication}
authorization:
  access:
    kubernetesSubjectAccessReview:
      user: {{selector: auth.identity.user.username}}
      resourceAttributes:
        namespace: {{value: {}}}
        resource: {{value: configmaps}}
        name: {{value: NAME}}
        verb: {{value: get}}",
        kubernetes.namespace()
    );
    kubernetes.apply(&auth_config("tokens", "tokens.test", authentication, "1"));
    kubernetes.apply(&auth_config("access", "access.test", &authorization.replace("NAME", "greeting"), "1"));
    kubernetes.apply(&auth_config("nobody", "nobody.test", &authorization.replace("NAME", "farewell"), "1"));

    for (token, host, expected) in [
        (&*token, "tokens.test", "200 1"),
        (&*other, "tokens.test", "200 1"),
        (&*elsewhere, "tokens.test", "401"),
        ("a.b.c", "tokens.test", "401"),
        (&*token, "access.test", "200 1"),
        (&*other, "access.test", "403"),
        ("a.b.c", "access.test", "401"),
        (&*token, "nobody.test", "403"),
    ] {
        until_answer_with(&usher, host, &[("authorization", &format!("Bearer {token}"))], expected);
    }
    assert_eq!(usher.check("tokens.test", &[]).unwrap().status, 401);
}
