//! Goes through a specification.
//!
//! Structs are taken apart field by field, and alternatives variant by variant, so that a field that is new has to be
//! thought of here before anything compiles. Left whole are key sets, selectors of labels, references to Secrets, and
//! how Usher itself gets a token: none of these looks at a request.

use usher_api::{
    AnonymousSpec, ApiKeySpec, AuthConfig, AuthConfigSpec, AuthenticationMethod, AuthenticationSpec,
    AuthorizationMethod, AuthorizationPolicy, AuthorizationSpec, CallbackSpec, Comparison, Condition,
    CredentialLocation, Credentials, DenyWithSpec, EvaluatorCaching, ExternalPolicySpec, HttpEndpointSpec,
    JsonResponseSpec, JwtSpec, KubernetesSubjectAccessReviewSpec, KubernetesTokenReviewSpec, MetadataMethod,
    MetadataSpec, NamedValuesOrSelectors, OAuth2IntrospectionSpec, OpaPolicy, OpaSpec, PatternExpressionOrRef,
    PatternMatchingSpec, PlainIdentitySpec, QueryParametersSpec, ResourceAttributesSpec, ResponseSpec, RouteReference,
    SpiceDbObjectSpec, SpiceDbSpec, SpiffeSpec, SpiffeTrust, SuccessResponseMethod, SuccessResponseSpec, SuccessSpec,
    UmaSpec, UrlSource, UserInfoSpec, ValueOrSelector, ValueSource, WristbandSpec, X509Source, X509Spec, XFCC_HEADER,
};
use usher_engine::route::RouteName;
use usher_evaluators::{FieldPath, authorization::opa};
use usher_expr::{Expression, ParseError, References, selector::Selector, template::Template};

use super::{Attribute, Needs, attributes};

pub(super) fn auth_config(config: &AuthConfig, needs: &mut Needs) {
    let AuthConfig { metadata, spec, status: _ } = config;
    let AuthConfigSpec {
        // The host is always sent.
        hosts: _,
        host_aliases: _,
        routes,
        patterns,
        when,
        authentication,
        metadata: metadata_rules,
        authorization,
        response,
        callbacks,
    } = spec;
    let mut walk = Walk { needs };
    let root = FieldPath::root("spec");
    for (index, RouteReference { kind, name, section_name }) in routes.iter().enumerate() {
        let at = root.field("routes");
        let at = at.index(index);
        match RouteName::new(kind.name(), &metadata.namespace, name, section_name.as_deref()) {
            Ok(route) => walk.needs.add(Attribute::Route(route), at.to_string(), "is looked up by it"),
            Err(_) => walk.unknown(&at),
        }
    }
    // Also those that no condition refers to.
    for (name, patterns) in patterns {
        for (index, pattern) in patterns.iter().enumerate() {
            let at = root.field("patterns");
            let at = at.key(name);
            let at = at.index(index);
            match pattern.comparison() {
                Ok(comparison) => walk.comparison(&comparison, &at),
                Err(_) => walk.unknown(&at),
            }
        }
    }
    walk.conditions(when, &root.field("when"));
    for (name, rule) in authentication {
        walk.authentication(rule, &root.field("authentication").key(name));
    }
    for (name, rule) in metadata_rules {
        walk.metadata(rule, authentication.values().map(AsRef::as_ref), &root.field("metadata").key(name));
    }
    for (name, rule) in authorization {
        walk.authorization(rule, &root.field("authorization").key(name));
    }
    if let Some(response) = response {
        walk.response(response, &root.field("response"));
    }
    for (name, callback) in callbacks {
        let CallbackSpec { common, http } = callback.as_ref();
        let at = root.field("callbacks");
        let at = at.key(name);
        walk.common(common, &at);
        walk.http(http, &at.field("http"));
    }
}

pub(super) fn authorization_policy(policy: &AuthorizationPolicy, needs: &mut Needs) {
    let mut walk = Walk { needs };
    match usher_policy::compile(policy) {
        Ok(compiled) => {
            for (field, references) in compiled.references() {
                walk.references(&references, &FieldPath::root(&field));
            }
        }
        Err(_) => walk.unknown(&FieldPath::root("spec")),
    }
}

struct Walk<'n> {
    needs: &'n mut Needs,
}

impl Walk<'_> {
    // --- What is read ------------------------------------------------------------------------------------------------

    /// An expression, or what came of reading it.
    fn expression(&mut self, expression: Result<References, ParseError>, at: &FieldPath<'_>) {
        match expression {
            Ok(references) => self.references(&references, at),
            Err(_) => self.unknown(at),
        }
    }

    fn references(&mut self, references: &References, at: &FieldPath<'_>) {
        for names in references.iter() {
            let how = match names {
                [] => "reads the whole document".to_owned(),
                names => format!("reads `{}`", spelled(names)),
            };
            for attribute in attributes::of(names) {
                self.needs.add(attribute, at.to_string(), how.as_str());
            }
        }
    }

    /// A field that could not be understood may read anything.
    fn unknown(&mut self, at: &FieldPath<'_>) {
        self.anything(at, "cannot be understood");
    }

    fn anything(&mut self, at: &FieldPath<'_>, why: &str) {
        for attribute in attributes::of(&[]) {
            self.needs.add(attribute, at.to_string(), why);
        }
    }

    fn header(&mut self, name: &str, at: &FieldPath<'_>, how: &str) {
        self.needs.add(Attribute::header(name), at.to_string(), how);
    }

    // --- Conditions and values ---------------------------------------------------------------------------------------

    fn conditions(&mut self, conditions: &[PatternExpressionOrRef], at: &FieldPath<'_>) {
        for (index, condition) in conditions.iter().enumerate() {
            let at = at.index(index);
            match condition.condition() {
                Ok(Condition::Comparison(comparison)) => self.comparison(&comparison, &at),
                Ok(Condition::Predicate(source)) => self.cel(source, &at.field("predicate")),
                // All named lists are looked at.
                Ok(Condition::PatternRef(_)) => {}
                Ok(Condition::All(conditions)) => self.conditions(conditions, &at.field("all")),
                Ok(Condition::Any(conditions)) => self.conditions(conditions, &at.field("any")),
                Err(_) => self.unknown(&at),
            }
        }
    }

    fn comparison(&mut self, comparison: &Comparison<'_>, at: &FieldPath<'_>) {
        match comparison {
            // Not a value, which may be a template: braces are part of the path here.
            Comparison::Selector(source, ..) => {
                self.expression(Selector::parse(source).map(|it| it.references()), &at.field("selector"));
            }
            Comparison::JsonPath(source, ..) => self.json_path(source, &at.field("jsonPath")),
        }
    }

    fn cel(&mut self, source: &str, at: &FieldPath<'_>) {
        self.expression(Expression::cel(source).map(|it| it.references()), at);
    }

    fn selector(&mut self, source: &str, at: &FieldPath<'_>) {
        self.expression(Expression::selector(source).map(|it| it.references()), at);
    }

    fn json_path(&mut self, source: &str, at: &FieldPath<'_>) {
        self.expression(Expression::json_path(source).map(|it| it.references()), at);
    }

    fn source(&mut self, source: ValueSource<'_>, at: &FieldPath<'_>) {
        match source {
            ValueSource::Expression(source) => self.cel(source, &at.field("expression")),
            ValueSource::Selector(source) => self.selector(source, &at.field("selector")),
            ValueSource::JsonPath(source) => self.json_path(source, &at.field("jsonPath")),
            ValueSource::Static(_) => {}
        }
    }

    fn value(&mut self, value: &ValueOrSelector, at: &FieldPath<'_>) {
        self.source(value.source(), at);
    }

    fn optional(&mut self, value: Option<&ValueOrSelector>, at: &FieldPath<'_>) {
        if let Some(value) = value {
            self.value(value, at);
        }
    }

    fn values(&mut self, values: &NamedValuesOrSelectors, at: &FieldPath<'_>) {
        for (name, value) in values {
            self.value(value, &at.key(name));
        }
    }

    fn common(&mut self, common: &usher_api::CommonEvaluatorSpec, at: &FieldPath<'_>) {
        let usher_api::CommonEvaluatorSpec { priority: _, metrics: _, when, cache } = common;
        self.conditions(when, &at.field("when"));
        if let Some(EvaluatorCaching { key, ttl: _ }) = cache {
            self.value(key, &at.field("cache").field("key"));
        }
    }

    /// A request that is sent. Its `credentials` say where a secret of ours stands in it.
    fn http(&mut self, endpoint: &HttpEndpointSpec, at: &FieldPath<'_>) {
        let HttpEndpointSpec {
            url: _,
            url_expression: _,
            method: _,
            body,
            body_parameters,
            content_type: _,
            headers,
            shared_secret_ref: _,
            oauth2: _,
            credentials: _,
            expect_status: _,
            timeout: _,
        } = endpoint;
        match endpoint.url_source() {
            Ok(UrlSource::Url(url)) => {
                self.expression(Template::parse(url).map(|it| it.references()), &at.field("url"));
            }
            Ok(UrlSource::Expression(source)) => self.cel(source, &at.field("urlExpression")),
            Err(_) => self.unknown(at),
        }
        self.optional(body.as_ref(), &at.field("body"));
        self.values(body_parameters, &at.field("bodyParameters"));
        self.values(headers, &at.field("headers"));
    }

    // --- Rules -------------------------------------------------------------------------------------------------------

    fn authentication(&mut self, rule: &AuthenticationSpec, at: &FieldPath<'_>) {
        let AuthenticationSpec {
            common,
            credentials,
            // It is taken out from where it was found.
            remove_credential: _,
            defaults,
            overrides,
            api_key: _,
            jwt: _,
            oauth2_introspection: _,
            kubernetes_token_review: _,
            x509: _,
            spiffe: _,
            plain: _,
            anonymous: _,
        } = rule;
        self.common(common, at);
        self.values(defaults, &at.field("defaults"));
        self.values(overrides, &at.field("overrides"));
        match rule.method() {
            Ok(
                AuthenticationMethod::ApiKey(ApiKeySpec { selector: _, all_namespaces: _ })
                | AuthenticationMethod::Jwt(JwtSpec {
                    jwks_url: _,
                    issuer_url: _,
                    jwks: _,
                    secret_ref: _,
                    issuer: _,
                    audiences: _,
                    algorithms: _,
                    leeway_seconds: _,
                    ttl: _,
                    timeout: _,
                })
                | AuthenticationMethod::OAuth2Introspection(OAuth2IntrospectionSpec {
                    endpoint: _,
                    token_type_hint: _,
                    credentials_ref: _,
                    timeout: _,
                })
                // Without audiences the host of the request counts, which is always sent.
                | AuthenticationMethod::KubernetesTokenReview(KubernetesTokenReviewSpec { audiences: _, timeout: _ }),
            ) => self.credentials(credentials.as_ref(), at),
            Ok(AuthenticationMethod::X509(spec)) => self.x509(spec, &at.field("x509")),
            Ok(AuthenticationMethod::Spiffe(spec)) => self.spiffe(spec, &at.field("spiffe")),
            Ok(AuthenticationMethod::Plain(spec)) => self.plain(spec, &at.field("plain")),
            Ok(AuthenticationMethod::Anonymous(AnonymousSpec {})) => {}
            Err(_) => self.unknown(at),
        }
    }

    fn credentials(&mut self, credentials: Option<&Credentials>, at: &FieldPath<'_>) {
        const HOW: &str = "takes the credential from it";
        let location = credentials.map_or_else(|| Ok(CredentialLocation::default()), Credentials::location);
        match location {
            Ok(CredentialLocation::AuthorizationHeader(_)) => self.header("authorization", at, HOW),
            Ok(CredentialLocation::CustomHeader(name)) => self.header(name, at, HOW),
            // The path is sent with its query.
            Ok(CredentialLocation::QueryString(_)) => {}
            Ok(CredentialLocation::Cookie(name)) => {
                self.header("cookie", at, HOW);
                self.needs.add(Attribute::Cookie(name.to_owned()), at.to_string(), HOW);
            }
            Err(_) => self.unknown(&at.field("credentials")),
        }
    }

    fn x509(&mut self, spec: &X509Spec, at: &FieldPath<'_>) {
        const HOW: &str = "takes the certificate from it";
        let X509Spec { selector: _, all_namespaces: _, source: _ } = spec;
        let at = at.field("source");
        match spec.certificate_source() {
            Ok(None) => self.needs.add(Attribute::SourceCertificate, at.to_string(), HOW),
            Ok(Some(X509Source::XfccHeader(name) | X509Source::ClientCertHeader(name))) => self.header(name, &at, HOW),
            Ok(Some(X509Source::Expression(source))) => self.cel(source, &at.field("expression")),
            Ok(Some(X509Source::JsonPath(source))) => self.json_path(source, &at.field("jsonPath")),
            Err(_) => self.unknown(&at),
        }
    }

    fn spiffe(&mut self, spec: &SpiffeSpec, at: &FieldPath<'_>) {
        const HOW: &str = "takes the identity from it";
        let SpiffeSpec { trust, xfcc_element: _, trust_domains: _ } = spec;
        match trust {
            SpiffeTrust::Connection => self.needs.add(Attribute::SourcePrincipal, at.to_string(), HOW),
            SpiffeTrust::Xfcc => self.header(XFCC_HEADER, at, HOW),
        }
    }

    fn plain(&mut self, spec: &PlainIdentitySpec, at: &FieldPath<'_>) {
        match spec.source() {
            Ok(source) => self.source(source, at),
            Err(_) => self.unknown(at),
        }
    }

    fn metadata<'s>(
        &mut self,
        rule: &MetadataSpec,
        authentication: impl Iterator<Item = &'s AuthenticationSpec>,
        at: &FieldPath<'_>,
    ) {
        let MetadataSpec { common, http: _, user_info: _, uma: _, on_error: _ } = rule;
        self.common(common, at);
        match rule.method() {
            Ok(MetadataMethod::Http(endpoint)) => self.http(endpoint, &at.field("http")),
            // The credential of the caller is passed on, wherever a rule would look for one, needed or not.
            Ok(MetadataMethod::UserInfo(UserInfoSpec { identity_source: _, user_info_url: _, timeout: _ })) => {
                let at = at.field("userInfo");
                let mut locations: Vec<_> = authentication.map(|rule| rule.credentials.as_ref()).collect();
                if locations.is_empty() {
                    locations.push(None);
                }
                for credentials in locations {
                    self.credentials(credentials, &at);
                }
            }
            // Looks for the path.
            Ok(MetadataMethod::Uma(UmaSpec { endpoint: _, credentials_ref: _, timeout: _ })) => {}
            Err(_) => self.unknown(at),
        }
    }

    fn authorization(&mut self, rule: &AuthorizationSpec, at: &FieldPath<'_>) {
        let AuthorizationSpec { common, pattern_matching: _, opa: _, kubernetes_subject_access_review: _, spicedb: _ } =
            rule;
        self.common(common, at);
        match rule.method() {
            Ok(AuthorizationMethod::PatternMatching(PatternMatchingSpec { patterns })) => {
                self.conditions(patterns, &at.field("patternMatching").field("patterns"));
            }
            Ok(AuthorizationMethod::Opa(spec)) => self.opa(spec, &at.field("opa")),
            Ok(AuthorizationMethod::KubernetesSubjectAccessReview(spec)) => {
                self.access_review(spec, &at.field("kubernetesSubjectAccessReview"));
            }
            Ok(AuthorizationMethod::SpiceDb(spec)) => self.spicedb(spec, &at.field("spicedb")),
            Err(_) => self.unknown(at),
        }
    }

    fn opa(&mut self, spec: &OpaSpec, at: &FieldPath<'_>) {
        let OpaSpec { rego: _, external_policy: _, all_values: _, version } = spec;
        match spec.policy() {
            Ok(OpaPolicy::Rego(rego)) => match opa::references(rego, *version) {
                Some(references) => self.references(&references, &at.field("rego")),
                None => self.unknown(&at.field("rego")),
            },
            Ok(OpaPolicy::ExternalPolicy(ExternalPolicySpec { endpoint: _, ttl: _ })) => {
                self.anything(&at.field("externalPolicy"), "is downloaded: what the policy reads is not known");
            }
            Err(_) => self.unknown(at),
        }
    }

    /// Without `resourceAttributes` it is about path and method, which are always sent.
    fn access_review(&mut self, spec: &KubernetesSubjectAccessReviewSpec, at: &FieldPath<'_>) {
        let KubernetesSubjectAccessReviewSpec {
            user,
            groups: _,
            authorization_groups,
            resource_attributes,
            timeout: _,
        } = spec;
        self.optional(user.as_ref(), &at.field("user"));
        self.optional(authorization_groups.as_ref(), &at.field("authorizationGroups"));
        if let Some(attributes) = resource_attributes {
            let ResourceAttributesSpec { namespace, group, resource, name, subresource, verb } = attributes;
            let at = at.field("resourceAttributes");
            for (field, value) in [
                ("namespace", namespace),
                ("group", group),
                ("resource", resource),
                ("name", name),
                ("subresource", subresource),
                ("verb", verb),
            ] {
                self.optional(value.as_ref(), &at.field(field));
            }
        }
    }

    fn spicedb(&mut self, spec: &SpiceDbSpec, at: &FieldPath<'_>) {
        let SpiceDbSpec {
            endpoint: _,
            insecure: _,
            shared_secret_ref: _,
            subject,
            resource,
            permission,
            consistency: _,
            timeout: _,
        } = spec;
        for (field, object) in [("subject", subject), ("resource", resource)] {
            if let Some(SpiceDbObjectSpec { name, kind }) = object {
                let at = at.field(field);
                self.optional(name.as_ref(), &at.field("name"));
                self.optional(kind.as_ref(), &at.field("kind"));
            }
        }
        self.optional(permission.as_ref(), &at.field("permission"));
    }

    // --- Answers -----------------------------------------------------------------------------------------------------

    fn response(&mut self, response: &ResponseSpec, at: &FieldPath<'_>) {
        let ResponseSpec { unauthenticated, unauthorized, success } = response;
        for (field, deny_with) in [("unauthenticated", unauthenticated), ("unauthorized", unauthorized)] {
            if let Some(DenyWithSpec { code: _, message, headers, body, dynamic_metadata }) = deny_with {
                let at = at.field(field);
                self.optional(message.as_ref(), &at.field("message"));
                self.values(headers, &at.field("headers"));
                self.optional(body.as_ref(), &at.field("body"));
                self.values(dynamic_metadata, &at.field("dynamicMetadata"));
            }
        }
        let Some(success) = success else { return };
        let at = at.field("success");
        // Names only: headers are taken out whether they are there or not.
        let SuccessSpec { headers, dynamic_metadata, remove_headers: _, response_headers, query_parameters } = success;
        for (name, item) in headers {
            let at = at.field("headers");
            let at = at.key(name);
            // What is there decides what becomes of it: it is added to, or kept, or emptied if the item has no value.
            let key = item.key.as_deref().filter(|key| !key.is_empty());
            self.header(key.unwrap_or(name), &at, "replaces what the client sent in it");
            self.item(item, &at);
        }
        let query_parameters = query_parameters.as_ref().map(|QueryParametersSpec { set, remove: _ }| set);
        let set = at.field("queryParameters");
        for (items, at) in [
            (Some(dynamic_metadata), at.field("dynamicMetadata")),
            (Some(response_headers), at.field("responseHeaders")),
            (query_parameters, set.field("set")),
        ] {
            for (name, item) in items.into_iter().flatten() {
                self.item(item, &at.key(name));
            }
        }
    }

    fn item(&mut self, item: &SuccessResponseSpec, at: &FieldPath<'_>) {
        let SuccessResponseSpec { common, key: _, action: _, plain: _, json: _, wristband: _ } = item;
        self.common(common, at);
        match item.method() {
            Ok(SuccessResponseMethod::Plain(value)) => self.value(value, &at.field("plain")),
            Ok(SuccessResponseMethod::Json(JsonResponseSpec { properties })) => {
                self.values(properties, &at.field("json").field("properties"));
            }
            Ok(SuccessResponseMethod::Wristband(spec)) => {
                let WristbandSpec { issuer: _, custom_claims, token_duration: _, signing_key_refs: _ } = spec;
                self.values(custom_claims, &at.field("wristband").field("customClaims"));
            }
            Err(_) => self.unknown(at),
        }
    }
}

/// `request.headers["x-a"]`: as users write paths.
fn spelled(names: &[String]) -> String {
    let mut spelled = String::new();
    for name in names {
        let mut bytes = name.bytes();
        let is_word = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        match (is_word, spelled.is_empty()) {
            (true, true) => spelled.push_str(name),
            (true, false) => {
                spelled.push('.');
                spelled.push_str(name);
            }
            (false, _) => spelled.push_str(&format!("[{name:?}]")),
        }
    }
    spelled
}
