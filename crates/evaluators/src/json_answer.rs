//! JSON that other servers answer with.

use bytes::Bytes;
use serde_json::Value;

/// Larger texts are read on a thread that serves no checks: a mebibyte takes some milliseconds.
const READ_AT_ONCE: usize = 64 * 1024;

/// The first JSON value of a text; what follows it does not matter. Members of objects are sorted by name, so that what
/// is made of them does not depend on how the server wrote them.
///
/// # Errors
/// When the text does not begin with a JSON value, or one that is nested too deeply. The error does not quote it.
pub(crate) async fn first_value(text: Bytes) -> Result<Value, String> {
    if text.len() <= READ_AT_ONCE {
        return read(&text);
    }
    tokio::task::spawn_blocking(move || read(&text)).await.map_err(|error| error.to_string())?
}

fn read(text: &[u8]) -> Result<Value, String> {
    let mut value = match serde_json::Deserializer::from_slice(text).into_iter::<Value>().next() {
        Some(Ok(value)) => value,
        Some(Err(error)) => return Err(format!("the answer is not json: {error}")),
        None => return Err("the answer is empty".to_owned()),
    };
    value.sort_all_objects();
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_value_counts() {
        let large = format!("[{}1]", "1,".repeat(READ_AT_ONCE));
        let deep = "[".repeat(100_000);
        for (text, expected) in [
            (r#"{"b":1,"a":{"d":[],"c":null}}"#, Ok(r#"{"a":{"c":null,"d":[]},"b":1}"#)),
            (r#" {"active":true} trailing"#, Ok(r#"{"active":true}"#)),
            ("{}{}", Ok("{}")),
            ("null", Ok("null")),
            (&large, Ok(&large)),
            ("", Err("the answer is empty")),
            (" \n", Err("the answer is empty")),
            ("hush", Err("the answer is not json: expected value at line 1 column 1")),
            (r#"{"active":true"#, Err("the answer is not json: EOF while parsing an object at line 1 column 14")),
            (&deep[..200], Err("the answer is not json: recursion limit exceeded at line 1 column 128")),
            (&deep, Err("the answer is not json: recursion limit exceeded at line 1 column 128")),
        ] {
            let value = first_value(Bytes::copy_from_slice(text.as_bytes())).await;
            assert_eq!(
                value.map(|value| value.to_string()).as_deref().map_err(|error| &**error),
                expected,
                "{text:.40}"
            );
        }
    }
}
