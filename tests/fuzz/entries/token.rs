//! Any bytes as what a token endpoint answers: a token that is accepted fits in a header, and is shown
//! nowhere else.

use tidings::Token;

/// Reads the answer.
pub(crate) fn run(data: &[u8]) {
    match Token::parse_response(data) {
        Ok(token) => {
            let value = token.header_value();
            assert!(value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{value:?}");
            assert!(value.ends_with(token.reveal()) && !token.reveal().is_empty());
            if token.reveal().len() > 8 {
                assert!(!format!("{token:?}").contains(token.reveal()), "Debug tells the token");
            }
        }
        Err(error) => assert!(!error.to_string().contains("CANARY"), "{error}"),
    }
}
