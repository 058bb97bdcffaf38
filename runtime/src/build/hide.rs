//! Texts that have URLs in them, as they are shown and kept: without users and passwords. Pure.

use std::ops::Range;

/// Whether a host is followed by nothing or by a port. If not, a `/`, `?` or `#` in a password made a host of its beginning.
pub fn has_host(authority: &str) -> bool {
    let after = authority.rfind(']').map_or(0, |end| end + 1);
    let port = authority[after..].split_once(':').map_or("", |(_, port)| port);
    port.bytes().all(|b| b.is_ascii_digit())
}

/// Where the users of URLs are in a text, each with the `@` behind it.
fn users(text: &str) -> Vec<Range<usize>> {
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some(at) = text[from..].find("://") {
        let start = from + at + "://".len();
        let rest = &text[start..];
        let word = &rest[..rest.find(char::is_whitespace).unwrap_or(rest.len())];
        let authority = &word[..word.find(['/', '?', '#']).unwrap_or(word.len())];
        let end = match authority.rfind('@') {
            None if !has_host(authority) => word.rfind('@'),
            end => end,
        };
        from = end.map_or(start, |end| start + end + 1);
        if from > start {
            found.push(start..from);
        }
    }
    found
}

/// The text without users and passwords in its URLs.
pub fn without_users(text: &str) -> String {
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for range in users(text) {
        out.push_str(&text[from..range.start]);
        from = range.end;
    }
    out.push_str(&text[from..]);
    out
}

/// The same with stars instead of them, each byte where it was.
pub fn masked(text: &str) -> String {
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for range in users(text) {
        out.push_str(&text[from..range.start]);
        out.extend(std::iter::repeat_n('*', range.len() - 1));
        from = range.end - 1;
    }
    out.push_str(&text[from..]);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn users_of_urls_are_hidden() {
        for (text, plain, stars) in [
            ("ADD http://u:tok3n@h/x@y /", "ADD http://h/x@y /", "ADD http://*******@h/x@y /"),
            ("a://tok3n@h b://u:@h:1/c", "a://h b://h:1/c", "a://*****@h b://**@h:1/c"),
            ("[\"http://u:tok3n@h/x\",\"/y@z\"]", "[\"http://h/x\",\"/y@z\"]", "[\"http://*******@h/x\",\"/y@z\"]"),
            ("http://u:tok3n/é@h/x y", "http://h/x y", "http://**********@h/x y"),
            ("'https://u:a@tok3n@h/x.git/': no", "'https://h/x.git/': no", "'https://*********@h/x.git/': no"),
        ] {
            assert_eq!((without_users(text).as_str(), masked(text).as_str()), (plain, stars));
        }
        for text in
            ["http://h:80/a@b", "http://[::1]/a@b", "git@h:x", "a@b http://h", "://", "http://h?a@b", "http://h c@d"]
        {
            assert_eq!((without_users(text).as_str(), masked(text).as_str()), (text, text));
        }
    }

    proptest! {
        #[test]
        fn bytes_stay_where_they_were(text in "([a:/@?#é ]|http://){0,30}") {
            let stars = masked(&text);
            prop_assert_eq!(stars.len(), text.len());
            prop_assert!(stars.bytes().zip(text.bytes()).all(|(star, byte)| star == byte || star == b'*'));
        }

        #[test]
        fn no_password_is_left(before in "[a-z ]{0,9}", password in "[A-Z][A-Z:/?#%]{0,9}", after in "[a-z/ ]{0,9}") {
            let text = format!("{before} http://u:{password}@h/{after}");
            for shown in [without_users(&text), masked(&text)] {
                prop_assert!(!shown.contains(|c: char| c.is_ascii_uppercase()), "{}", shown);
            }
        }
    }
}
