//! A policy as somebody might write for the interface of a shop: 50 rules, most of which matter to each decision.

/// In Rego v1. It lets in the request that every check is about.
pub(super) const FIFTY_RULES: &str = r#"
# What is asked, and by whom.
method := input.request.method
path := input.request.url_path
headers := input.request.headers
segments := split(trim(path, "/"), "/")
version := segments[0]
resource := segments[1]
item := segments[2]
client := input.source.address
agent := lower(headers["user-agent"])
language := substring(headers["accept-language"], 0, 2)

# What is known beforehand.
reading_methods := {"GET", "HEAD", "OPTIONS"}
writing_methods := {"POST", "PUT", "PATCH", "DELETE"}
versions := {"v1", "v2"}
languages := {"de", "en", "es", "fr", "it", "nl", "pl", "pt"}
office := ["10.0.0.0/8", "192.168.0.0/16", "203.0.113.0/24"]
robots := ["curl/", "python-requests/", "scrapy/", "wget/"]
permissions := {
    "guest": {"products:read", "reviews:read", "shops:read"},
    "office": {"orders:read", "customers:read", "invoices:read", "products:read", "shipments:read"},
    "auditor": {"invoices:read", "reports:read", "refunds:read"},
    "editor": {"orders:write", "products:write", "reviews:write", "shipments:write"},
    "admin": {"customers:write", "invoices:write", "refunds:write", "reports:write", "shops:write"},
}

# Properties of the request.
reading if method in reading_methods
writing if method in writing_methods
numbered if regex.match("^[0-9]{1,9}$", item)
encrypted if headers["x-forwarded-proto"] == "https"
from_office if {
    some network in office
    net.cidr_contains(network, client)
}
with_session if contains(headers.cookie, "session=")

# Roles, and what they are for.
roles contains "guest" if input.auth.identity.anonymous
roles contains "office" if from_office
roles contains "auditor" if {
    from_office
    headers["x-auditor"] == "true"
}
roles contains "editor" if {
    with_session
    headers["x-editor"] == "true"
}
roles contains "admin" if headers["x-admin"] == "true"
granted contains permission if {
    some role in roles
    some permission in permissions[role]
}
needed := concat(":", [resource, "read"]) if reading
needed := concat(":", [resource, "write"]) if writing

# Paths that there are.
route if glob.match("/v*/customers/*", ["/"], path)
route if glob.match("/v*/invoices/*", ["/"], path)
route if glob.match("/v*/products/*", ["/"], path)
route if glob.match("/v*/reports/*/*", ["/"], path)
route if glob.match("/v*/shipments/*", ["/"], path)
route if glob.match("/v*/shops/*/reviews/*", ["/"], path)
route if glob.match("/v*/orders/*/items/*", ["/"], path)
route if glob.match("/v*/orders/*", ["/"], path)

# Why not.
denied contains "unknown version" if not version in versions
denied contains "no number" if not numbered
denied contains "not encrypted" if not encrypted
denied contains "unknown language" if not language in languages
denied contains "debugging" if headers["x-debug"]
denied contains "path too long" if count(path) > 1024
denied contains "path too deep" if count(segments) > 6
denied contains "leaves the folder" if ".." in segments
denied contains "too many attempts" if to_number(headers["x-envoy-attempt-count"]) > 5
denied contains "a robot" if {
    some robot in robots
    startswith(agent, robot)
}

allow if {
    route
    needed in granted
    count(denied) == 0
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_fifty_rules() {
        let begins_rule = |line: &&str| line.starts_with(|character: char| character.is_ascii_lowercase());
        assert_eq!(FIFTY_RULES.lines().filter(begins_rule).count(), 50);
    }
}
