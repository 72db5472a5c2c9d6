//! What commands print.

use std::io::{self, ErrorKind, Write};

use crate::exit::Exit;

/// Prints a text, and gives the exit status of the command: what it would be, or `Invalid` if the text could not be
/// written, so that nobody takes a part for all of it.
pub(crate) fn print(text: &str, exit: Exit) -> Exit {
    match write(&mut io::stdout().lock(), text) {
        Ok(()) => exit,
        Err(error) => {
            eprintln!("the output cannot be written: {error}");
            Exit::Invalid
        }
    }
}

/// Writes a text. Whoever reads may have read enough, as `head` does: that is no error.
fn write(output: &mut impl Write, text: &str) -> io::Result<()> {
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_read_enough_is_no_error() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        assert_eq!(writer.write_all(b"text").unwrap_err().kind(), ErrorKind::BrokenPipe);
        write(&mut writer, "text").unwrap();
    }

    /// Also if only the end of it is missing.
    #[test]
    fn a_text_that_cannot_be_written_is_an_error() {
        let mut room = [0_u8; 4];
        write(&mut room.as_mut_slice(), "text").unwrap();
        assert!(write(&mut room.as_mut_slice(), "texts").is_err());
        let full = io::BufWriter::new([0_u8; 0].as_mut_slice());
        // What waits in memory counts, too.
        assert!(write(&mut { full }, "text").is_err());
    }
}
