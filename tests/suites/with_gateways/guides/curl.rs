//! A `curl` of a guide, and the answer that the guide shows.

use crate::{
    support::http::{Request, Response},
    with_gateways::elision::fits,
};

/// What `curl` sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Curl {
    /// The host and the port of the URL: where it connects.
    pub(super) address: String,
    method: String,
    host: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// What the guide shows of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    status_line: String,
    headers: Vec<(String, String)>,
    /// None: the answer has no body, or it is that of the API.
    body: Option<String>,
}

/// Headers that the guides leave out. The length is shown where a reader learns something from it.
const LEFT_OUT: [&str; 4] = ["connection", "content-length", "date", "server"];

impl Curl {
    /// Reads the words after `curl`.
    ///
    /// # Errors
    /// A flag that is not known here, or something that curl would make another request of than it seems.
    pub(super) fn parse(words: &[String]) -> Result<Self, String> {
        let (mut url, mut method, mut host, mut headers) = (None, None, None, Vec::<(String, String)>::new());
        let (mut body, mut shows_head) = (Vec::new(), false);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("`{word}` has no value"));
            match word.as_str() {
                "-i" | "--include" => shows_head = true,
                "-H" | "--header" => {
                    let header = value()?;
                    let pair = header.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
                    match pair.ok_or_else(|| format!("the header `{header}` is not known here"))? {
                        (name, value) if name == "host" => host = Some(value),
                        header => headers.push(header),
                    }
                }
                "-d" | "--data" => match value()? {
                    file if file.starts_with('@') => return Err(format!("the file `{file}` is not known here")),
                    data => body.push(data.as_str()),
                },
                "-X" | "--request" => method = Some(value()?.clone()),
                flag if flag.starts_with('-') => return Err(format!("the flag `{flag}` is not known here")),
                other if url.is_some() => return Err(format!("`{other}` is one URL too many")),
                other => url = Some(other),
            }
        }
        if !shows_head {
            return Err("the answer is not whole without `-i`".to_owned());
        }
        let url = url.ok_or("there is no URL")?;
        let rest = url.strip_prefix("http://").ok_or_else(|| format!("`{url}` is not known here"))?;
        let (address, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let segments: Vec<_> = target.split(['/', '?']).collect();
        if segments.contains(&"..") || segments.contains(&".") || target.contains('#') || address.contains(['?', '@']) {
            return Err(format!("curl sends another target than that of `{url}`"));
        }
        let defaults = [("accept", "*/*"), ("user-agent", "curl/8.5.0")].into_iter();
        let form = [("content-type", "application/x-www-form-urlencoded")];
        for (name, value) in defaults.chain(form.into_iter().filter(|_| !body.is_empty())) {
            if headers.iter().all(|(given, _)| given != name) {
                headers.push((name.to_owned(), value.to_owned()));
            }
        }
        Ok(Self {
            address: address.to_owned(),
            method: method.unwrap_or_else(|| if body.is_empty() { "GET" } else { "POST" }.to_owned()),
            host: host.unwrap_or_else(|| address.to_owned()),
            target: if target.is_empty() { "/" } else { target }.to_owned(),
            headers,
            body: body.join("&"),
        })
    }

    /// Gives the request to somebody who sends it.
    pub(super) fn request<T>(&self, send: impl FnOnce(Request<'_>) -> T) -> T {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        send(Request {
            method: &self.method,
            host: &self.host,
            target: &self.target,
            headers: &headers,
            body: self.body.as_bytes(),
        })
    }
}

impl Shown {
    /// Reads the lines after the command.
    ///
    /// # Errors
    /// They are no answer.
    pub(super) fn parse(lines: &[String]) -> Result<Self, String> {
        let (status_line, lines) = lines.split_first().ok_or("no answer is shown")?;
        if !status_line.starts_with("HTTP/1.1 ") {
            return Err(format!("`{status_line}` is no status line"));
        }
        let end = lines.iter().position(String::is_empty).unwrap_or(lines.len());
        let (headers, body) = lines.split_at(end);
        let pair = |line: &String| {
            let (name, value) = line.split_once(": ").ok_or_else(|| format!("`{line}` is no header"))?;
            Ok::<_, String>((name.to_owned(), value.to_owned()))
        };
        Ok(Self {
            status_line: status_line.clone(),
            headers: headers.iter().map(pair).collect::<Result<_, _>>()?,
            body: body.split_first().map(|(_, body)| body.join("\n")),
        })
    }

    /// What is different in an answer. `is_of_api`: it is that of the API. Of such a one not all is shown; all others are shown
    /// as they are.
    pub(super) fn differences(&self, answer: &Response, is_of_api: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        if answer.status_line() != self.status_line {
            wrong.push(format!("`{}` in place of `{}`", answer.status_line(), self.status_line));
        }
        let mut rest: Vec<_> = answer.all_headers().collect();
        for (name, value) in &self.headers {
            match rest.iter().position(|(found, given)| found == name && fits(given, value)) {
                Some(at) => drop(rest.drain(..=at)),
                None => wrong.push(format!("the header `{name}: {value}` does not come, or not in this place")),
            }
        }
        let is_shown = |name: &str| self.headers.iter().any(|(shown, _)| shown == name) || LEFT_OUT.contains(&name);
        for (name, value) in answer.all_headers().filter(|(name, _)| !is_of_api && !is_shown(name)) {
            wrong.push(format!("the header `{name}: {value}` is not shown"));
        }
        let body = answer.text();
        match &self.body {
            Some(shown) if !fits(&body, shown) => wrong.push(format!("the body is\n{body}\nin place of\n{shown}")),
            None if !is_of_api && !body.is_empty() => wrong.push(format!("the body is not shown:\n{body}")),
            _ => {}
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn requests_are_those_of_curl() {
        let words =
            ["-i", "http://localhost:8080/a?b=c", "-H", "Host: a.test", "-H", "X-A: b: c", "-d", "1", "-d", "2"];
        let curl = Curl::parse(&texts(&words)).unwrap();
        assert_eq!((curl.address.as_str(), curl.host.as_str()), ("localhost:8080", "a.test"));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [
            pair("x-a", "b: c"),
            pair("accept", "*/*"),
            pair("user-agent", "curl/8.5.0"),
            pair("content-type", "application/x-www-form-urlencoded"),
        ];
        assert_eq!(curl.headers, expected);
        curl.request(|request| {
            assert_eq!((request.method, request.target, request.body), ("POST", "/a?b=c", &b"1&2"[..]));
        });

        let curl = Curl::parse(&texts(&["-i", "http://a.test:8080", "-X", "PUT", "-H", "accept: b"])).unwrap();
        assert_eq!((curl.method.as_str(), curl.host.as_str(), curl.target.as_str()), ("PUT", "a.test:8080", "/"));
        assert_eq!(curl.headers, [pair("accept", "b"), pair("user-agent", "curl/8.5.0")]);

        for words in [
            &["http://a.test/"][..],
            &["-i"],
            &["-i", "https://a.test/"],
            &["-i", "a.test"],
            &["-i", "http://a.test/", "http://b.test/"],
            &["-i", "http://a.test/b/../c"],
            &["-i", "http://a.test/b/."],
            &["-i", "http://a.test/b#c"],
            &["-i", "http://a@a.test/"],
            &["-i", "http://a.test/", "-H"],
            &["-i", "http://a.test/", "-H", "X-A;"],
            &["-i", "http://a.test/", "-d", "@file"],
            &["-i", "http://a.test/", "-s"],
        ] {
            assert!(Curl::parse(&texts(words)).is_err(), "{words:?}");
        }
    }

    #[test]
    fn answers_are_compared() {
        let answer = |text: &str| Response::read(&mut text.replace('\n', "\r\n").as_bytes()).unwrap();
        let denial = answer("HTTP/1.1 403 Forbidden\na: 1\nb: 2\nserver: envoy\ncontent-length: 2\n\nno");
        for (shown, expected) in [
            (&["HTTP/1.1 403 Forbidden", "a: 1", "b: 2", "", "no"][..], 0),
            (&["HTTP/1.1 403 Forbidden", "a: …", "b: 2", "content-length: 2", "", "…"], 0),
            (&["HTTP/1.1 401 Unauthorized", "a: 1", "b: 2", "", "no"], 1),
            (&["HTTP/1.1 403 Forbidden", "a: 2", "b: 2", "", "no"], 1),
            (&["HTTP/1.1 403 Forbidden", "b: 2", "a: 1", "", "no"], 1),
            (&["HTTP/1.1 403 Forbidden", "a: 1", "", "no"], 1),
            (&["HTTP/1.1 403 Forbidden", "a: 1", "b: 2", "c: 3", "", "no"], 1),
            (&["HTTP/1.1 403 Forbidden", "a: 1", "b: 2", "", "yes"], 1),
            (&["HTTP/1.1 403 Forbidden", "a: 1", "b: 2"], 1),
        ] {
            let differences = Shown::parse(&texts(shown)).unwrap().differences(&denial, false);
            assert_eq!(differences.len(), expected, "{shown:?}: {differences:?}");
        }
        let passed = answer("HTTP/1.1 200 OK\na: 1\ncontent-length: 3\n\nyes");
        for (shown, expected) in [
            (&["HTTP/1.1 200 OK"][..], 0),
            (&["HTTP/1.1 200 OK", "a: 1", "", "yes"], 0),
            (&["HTTP/1.1 200 OK", "b: 1"], 1),
            (&["HTTP/1.1 200 OK", "", "no"], 1),
        ] {
            let differences = Shown::parse(&texts(shown)).unwrap().differences(&passed, true);
            assert_eq!(differences.len(), expected, "{shown:?}: {differences:?}");
        }
        for shown in [&[][..], &["200 OK"], &["HTTP/1.1 200 OK", "no header"]] {
            assert!(Shown::parse(&texts(shown)).is_err(), "{shown:?}");
        }
    }
}
