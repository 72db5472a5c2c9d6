//! Plain HTTP/1.1, one request a connection.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

/// The longest for anything to come over a connection.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(15);

/// A request to be sent to a loopback port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    pub(crate) target: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
}

impl Default for Request<'_> {
    fn default() -> Self {
        Self { method: "GET", host: "localhost", target: "/", headers: &[], body: &[] }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    status_line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Response {
    /// Reads it from a connection.
    pub(crate) fn read(stream: &mut impl Read) -> io::Result<Self> {
        let (status_line, headers, body) = read_message(&mut BufReader::new(stream), true)?;
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok(Self { status: status.ok_or_else(|| invalid(&status_line))?, status_line, headers, body })
    }

    /// The first line, such as `HTTP/1.1 200 OK`.
    pub(crate) fn status_line(&self) -> &str {
        &self.status_line
    }

    /// All headers, in order, with names in lower case.
    pub(crate) fn all_headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// All values of a header.
    pub(crate) fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        values(&self.headers, name)
    }

    /// The first value of a header.
    pub(crate) fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.headers(name).next()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, which is JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in `{}`", self.text()))
    }
}

impl Request<'_> {
    /// Sends it and reads the answer.
    pub(crate) fn send(&self, port: u16) -> io::Result<Response> {
        self.exchange(connect(port)?)
    }

    /// [`send`](Self::send) over a connection that is there.
    pub(crate) fn exchange(&self, mut stream: impl Read + Write) -> io::Result<Response> {
        let mut head =
            format!("{} {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.method, self.target, self.host);
        for (name, value) in self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        stream.write_all(&[head.as_bytes(), self.body].concat())?;
        Response::read(&mut stream)
    }
}

/// A connection to a loopback port on which nothing waits for ever.
pub(crate) fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// The first line, the headers with names in lower case, and the body.
pub(crate) type Message = (String, Vec<(String, String)>, Vec<u8>);

/// Reads a request or a response. The body of a response may end with the connection.
pub(crate) fn read_message(reader: &mut impl BufRead, is_response: bool) -> io::Result<Message> {
    let first = line(reader)?;
    let mut headers = Vec::new();
    loop {
        let line = line(reader)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid(&line))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut body = Vec::new();
    if values(&headers, "transfer-encoding").any(|coding| coding.eq_ignore_ascii_case("chunked")) {
        loop {
            let size = line(reader)?;
            let size = u64::from_str_radix(size.trim(), 16).map_err(|_| invalid(&size))?;
            reader.by_ref().take(size).read_to_end(&mut body)?;
            line(reader)?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = values(&headers, "content-length").next() {
        body = vec![0; length.parse().map_err(|_| invalid(length))?];
        reader.read_exact(&mut body)?;
    } else if is_response {
        reader.read_to_end(&mut body)?;
    }
    Ok((first, headers, body))
}

fn values<'a>(headers: &'a [(String, String)], name: &'a str) -> impl Iterator<Item = &'a str> {
    headers.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unexpected `{text}`"))
}
