//! Permissions of a real SpiceDB. It is there for who asks for it:
//!
//! ```sh
//! WITH_SPICEDB=true tests/run             # its engine, installed into .parts, behind tests/parts/spicedb.py
//! SPICEDB_BIN=/path/spicedb tests/run     # the program itself
//! ```
//!
//! Once the engine is installed, `cargo test -p usher-tests with_spicedb` runs only these.

use crate::support::{
    http::Response,
    spicedb::{KEY, SpiceDb},
    usher::Usher,
    wait::until,
};

const SCHEMA: &str = "
caveat at_work(hour int) { hour >= 9 && hour < 17 }
definition user {}
definition document {
    relation reader: user | user with at_work
    relation writer: user
    permission read = reader + writer
    permission write = writer
}";

const RELATIONSHIPS: [&str; 3] =
    ["document:plan#writer@user:admin", "document:plan#reader@user:guest", "document:plan#reader@user:clerk[at_work]"];

/// Asks whether the user of a header has the permission of a header on the document `plan`.
fn config(endpoint: &str, more: &str) -> String {
    format!(
        r#"
apiVersion: authorino.kuadrant.io/v1beta3
kind: AuthConfig
metadata: {{name: documents}}
spec:
  hosts: [documents.test]
  authorization:
    zed:
      spicedb:
        endpoint: "{endpoint}"
        insecure: true
        sharedSecretRef: {{name: zed, key: grpc-preshared-key}}
        subject: {{kind: {{value: user}}, name: {{selector: request.headers.x-user}}}}
        resource: {{kind: {{value: document}}, name: {{value: plan}}}}
        permission: {{selector: request.headers.x-permission}}
        {more}
  response: {{success: {{headers: {{x-answer: {{plain: {{expression: string(auth.authorization.zed.permissionship)}}}}}}}}}}
"#
    )
}

fn secret(key: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: zed}}\nstringData: {{grpc-preshared-key: {key}}}\n")
}

fn ready() -> Option<SpiceDb> {
    let mut spicedb = SpiceDb::start()?;
    spicedb.write_schema(SCHEMA);
    spicedb.write_relationships(&RELATIONSHIPS);
    Some(spicedb)
}

fn start(spicedb: &SpiceDb, key: &str, more: &str) -> Usher {
    Usher::start(&format!("{}---\n{}", config(&spicedb.address(), more), secret(key)))
}

fn check(usher: &Usher, user: &str, permission: &str) -> Response {
    usher.check("documents.test", &[("x-user", user), ("x-permission", permission)]).unwrap()
}

/// The status and the reason.
fn outcome(usher: &Usher, user: &str, permission: &str) -> (u16, String) {
    let response = check(usher, user, permission);
    (response.status, response.header("x-ext-auth-reason").unwrap_or_default().to_owned())
}

#[test]
fn permissions_follow_schema_and_relationships() {
    let Some(spicedb) = ready() else { return };
    let usher = start(&spicedb, KEY, "consistency: fullyConsistent");
    for (user, permission) in [("admin", "read"), ("admin", "write"), ("guest", "read")] {
        let response = check(&usher, user, permission);
        assert_eq!((response.status, response.header("x-answer")), (200, Some("2")), "{user} {permission}");
    }
    let denied = [
        ("guest", "write", "PERMISSIONSHIP_NO_PERMISSION;token="),
        ("nobody", "read", "PERMISSIONSHIP_NO_PERMISSION;token="),
        ("clerk", "read", "PERMISSIONSHIP_CONDITIONAL_PERMISSION;token="),
    ];
    for (user, permission, start) in denied {
        let (status, reason) = outcome(&usher, user, permission);
        assert_eq!(status, 403, "{user} {permission}: {reason}");
        assert!(reason.starts_with(start) && reason.len() > start.len(), "{user} {permission}: {reason}");
    }
    // What the schema does not have is nobody's fault who asks.
    assert_eq!(outcome(&usher, "admin", "nosuch").0, 503);
    spicedb.write_relationships(&["document:plan#writer@user:guest"]);
    assert_eq!(outcome(&usher, "guest", "write").0, 200);
}

#[test]
fn the_preshared_key_counts_as_it_is_now() {
    let Some(spicedb) = ready() else { return };
    let usher = start(&spicedb, "wrong", "");
    assert_eq!(outcome(&usher, "admin", "read"), (403, "SpiceDB refused the question".to_owned()));
    usher.write("config.yaml", &format!("{}---\n{}", config(&spicedb.address(), ""), secret(KEY)));
    until("the new key", || match outcome(&usher, "admin", "read") {
        (200, _) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn a_server_that_was_away_is_found_again() {
    let Some(mut spicedb) = ready() else { return };
    // By default answers may be seconds old, from before the relationships.
    let usher = start(&spicedb, KEY, "consistency: fullyConsistent\n        timeout: 2000");
    assert_eq!(outcome(&usher, "admin", "read").0, 200);
    spicedb.stop();
    assert_eq!(outcome(&usher, "admin", "read").0, 503);
    spicedb.launch();
    spicedb.write_schema(SCHEMA);
    spicedb.write_relationships(&RELATIONSHIPS);
    until("answers of the new server", || match outcome(&usher, "admin", "read") {
        (200, _) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}
