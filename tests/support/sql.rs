//! The least of a PostgreSQL client: text statements over a Unix socket that asks for no password.
//!
//! For setting up and looking in, beside the driver that is under test, and where there is none.

use std::io::{self, BufReader, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Version 3.0 of the protocol.
const VERSION: u32 = 196_608;

/// Runs statements and returns the rows of them all, a null as an empty text.
pub(super) fn run(
    socket: &Path,
    user: &str,
    database: &str,
    statements: &str,
) -> io::Result<Vec<Vec<String>>> {
    let mut stream = UnixStream::connect(socket)?;
    let mut start = VERSION.to_be_bytes().to_vec();
    for text in ["user", user, "database", database, ""] {
        start.extend_from_slice(text.as_bytes());
        start.push(0);
    }
    stream.write_all(&framed(None, &start))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    until_ready(&mut reader)?;
    let mut query = statements.as_bytes().to_vec();
    query.push(0);
    stream.write_all(&framed(Some(b'Q'), &query))?;
    let rows = until_ready(&mut reader)?;
    stream.write_all(&framed(Some(b'X'), &[]))?;
    Ok(rows)
}

/// A message: its kind (the first one has none), its length, its contents.
fn framed(kind: Option<u8>, contents: &[u8]) -> Vec<u8> {
    let length = u32::try_from(contents.len() + 4).expect("a short message");
    let mut message: Vec<u8> = kind.into_iter().collect();
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(contents);
    message
}

/// Reads messages until the server waits for the next one of ours.
fn until_ready(reader: &mut impl Read) -> io::Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    let mut failed = None;
    loop {
        let mut head = [0; 5];
        if let Err(error) = reader.read_exact(&mut head) {
            return Err(failed.unwrap_or(error)); // A refused start has no other end.
        }
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut contents = vec![0; length.saturating_sub(4)];
        reader.read_exact(&mut contents)?;
        match head[0] {
            b'D' => rows.push(row(&contents)?),
            b'E' => failed = Some(io::Error::other(message(&contents))),
            b'R' if contents != [0; 4] => return Err(io::Error::other("a password is asked for")),
            b'Z' => return failed.map_or(Ok(rows), Err),
            _ => {}
        }
    }
}

fn row(contents: &[u8]) -> io::Result<Vec<String>> {
    let short = || io::Error::other("a short row");
    let (count, mut rest) = contents.split_first_chunk::<2>().ok_or_else(short)?;
    let mut row = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        // A null has the length -1.
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        let (value, after) = after.split_at_checked(length).ok_or_else(short)?;
        row.push(String::from_utf8_lossy(value).into_owned());
        rest = after;
    }
    Ok(row)
}

/// `ERROR 42601: syntax error …` of the fields of an error.
fn message(contents: &[u8]) -> String {
    let field = |kind: u8| {
        let found = contents.split(|byte| *byte == 0).find(|field| field.first() == Some(&kind));
        found.map(|field| String::from_utf8_lossy(&field[1..]).into_owned()).unwrap_or_default()
    };
    format!("{} {}: {}", field(b'S'), field(b'C'), field(b'M'))
}
