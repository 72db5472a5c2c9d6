//! The settings that `usher doctor needs` prints, run.

use serde_json::{Value, json};

use super::{CLEANER, FOLDER, PLANNER, World, claims_of_the_gateway, named};
use crate::{
    support::documents::Folder,
    with_gateways::needs::{merge, needs, only, take},
};

/// What MCP servers get, and whom they hear, is the same with the printed limit as with that of the manifests, up to the limit.
#[test]
fn with_the_printed_settings_tools_are_for_the_same() {
    let folder = Folder::read(FOLDER);
    let printed = only(needs("agentgateway", &folder, &["ai/mcp"]));
    let changed = |change: &dyn Fn(&mut Value)| {
        World::changed(
            |document| named(document, "perimeter").is_none(),
            |document| {
                if named(document, "mcp").is_some() {
                    take(&mut document["spec"]["traffic"]["extAuth"], &["forwardBody"]);
                    change(document);
                }
            },
        )
    };
    let told = changed(&|policy| merge(policy, &printed));
    let untold = changed(&|_| {});
    let call = |tool: &str, text: &str| {
        let arguments = json!({"name": tool, "arguments": {"text": text}});
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": arguments}).to_string()
    };
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    let (almost, long) = ("x".repeat(8000), "x".repeat(8192));
    let shipped = World::start();
    for (key, body, as_shipped, as_printed) in [
        (PLANNER, call("search", ""), 200, 200),
        (PLANNER, call("delete", ""), 403, 403),
        (CLEANER, call("delete", ""), 200, 200),
        (CLEANER, list, 200, 200),
        (CLEANER, "tools/list".to_owned(), 403, 403),
        ("nobody's", call("search", ""), 401, 401),
        (PLANNER, call("search", &almost), 200, 200),
        // The note beside the settings says so: Usher gets the beginning.
        (PLANNER, call("search", &long), 200, 403),
    ] {
        let headers = [("authorization", &*format!("Bearer {key}"))];
        let post = |world: &World| world.proxy.post("ai.example.com", "/mcp", &headers, &body);
        let [of_shipped, of_printed, without] = [&shipped, &told, &untold].map(post);
        assert_eq!((of_shipped.status, of_printed.status), (as_shipped, as_printed), "{key} {body}");
        if as_shipped == as_printed {
            let seen = |answer: &str| answer.replace(&shipped.tools.port().to_string(), "");
            assert_eq!(seen(&of_shipped.text()), seen(&of_printed.text()), "{key} {body}");
        }
        assert_eq!(without.status, if as_shipped == 401 { 401 } else { 403 }, "no rule reads what is not sent: {body}");
    }
}

/// The others of the folder, and the one of the guide that reads the claims of a token: what they read is sent without a setting.
#[test]
fn there_is_nothing_else_to_set() {
    let folder = Folder::read(FOLDER);
    let others = ["ai/sample", "ai/perimeter", "ai/models"];
    assert_eq!(needs("agentgateway", &folder, &others), []);
    let documents = vec![serde_json::from_str(&claims_of_the_gateway("claims.example.com")).unwrap()];
    assert_eq!(needs("agentgateway", &Folder { documents, ..folder }, &[]), []);
}
