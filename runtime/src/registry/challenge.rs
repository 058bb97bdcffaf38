//! `WWW-Authenticate`: how a server wants to be asked; RFC 9110, section 11.6.1.

use crate::error::{Error, ErrorKind, Result};

/// More are not looked at.
const MOST: usize = 16;
const HEADER_MAX: usize = 8 << 10;

/// One way to authenticate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// `basic`, `bearer`, in lower case.
    pub scheme: String,
    /// Parameters, names in lower case, in their order.
    params: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The challenges of one header. A parameter given twice, and whatever is no challenge, is refused: a client that read
/// another realm than the server meant would send the password there.
pub fn parse(header: &str) -> Result<Vec<Challenge>> {
    let wrong = || {
        let shown: String = header.chars().take(200).collect();
        Error::new(ErrorKind::Invalid, format!("the server's WWW-Authenticate cannot be read: {shown:?}"))
    };
    if header.len() > HEADER_MAX {
        return Err(wrong());
    }
    let mut text = Text(header);
    let mut challenges: Vec<Challenge> = Vec::new();
    loop {
        text.skip_commas();
        if text.0.is_empty() {
            return Ok(challenges);
        }
        let name = text.token().ok_or_else(wrong)?.to_ascii_lowercase();
        let room = challenges.len() < MOST;
        match (text.value(), challenges.last_mut()) {
            (Value::None, _) if room => {
                text.token68();
                challenges.push(Challenge { scheme: name, params: Vec::new() });
            }
            (Value::Some(value), Some(challenge))
                if challenge.params.len() < MOST && challenge.get(&name).is_none() =>
            {
                challenge.params.push((name, value));
            }
            _ => return Err(wrong()),
        }
    }
}

/// What follows a token.
enum Value {
    /// No `=`: the token is a scheme.
    None,
    Some(String),
    Broken,
}

struct Text<'a>(&'a str);

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

impl<'a> Text<'a> {
    fn skip_commas(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t', ',']);
    }

    fn token(&mut self) -> Option<&'a str> {
        let end = self.0.find(|c| !is_token(c)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        (!token.is_empty()).then_some(token)
    }

    /// `= token` or `= "quoted"`, spaces allowed around the sign. Takes nothing where there is none.
    fn value(&mut self) -> Value {
        let Some(rest) = self.0.trim_start_matches([' ', '\t']).strip_prefix('=') else { return Value::None };
        self.0 = rest.trim_start_matches([' ', '\t']);
        let Some(quoted) = self.0.strip_prefix('"') else {
            return self.token().map_or(Value::Broken, |token| Value::Some(token.to_owned()));
        };
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.0 = &quoted[at + 1..];
                    return Value::Some(value);
                }
                '\\' => match chars.next() {
                    Some((_, escaped)) => value.push(escaped),
                    None => return Value::Broken,
                },
                c if c.is_control() => return Value::Broken,
                c => value.push(c),
            }
        }
        Value::Broken
    }

    /// The other form of what follows a scheme, as in `Negotiate abc==`; not used, only passed over.
    fn token68(&mut self) {
        let text = self.0.trim_start_matches([' ', '\t']);
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "-._~+/".contains(c))).unwrap_or(text.len());
        let rest = text[end..].trim_start_matches('=');
        let rest = rest.trim_start_matches([' ', '\t']);
        if end > 0 && (rest.is_empty() || rest.starts_with(',')) {
            self.0 = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(header: &str) -> Vec<String> {
        let one = |c: &Challenge| {
            let params: Vec<_> = c.params.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{} {}", c.scheme, params.join("|"))
        };
        parse(header).unwrap().iter().map(one).collect()
    }

    #[test]
    fn what_servers_send_is_read() {
        let bearer = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let wanted =
            "bearer realm=https://auth.docker.io/token|service=registry.docker.io|scope=repository:a/b:pull,push";
        assert_eq!(shown(bearer), [wanted]);
        assert_eq!(shown(r#"Basic realm="a \"b\" , c""#), [r#"basic realm=a "b" , c"#]);
        assert_eq!(
            shown("BASIC realm = x , Negotiate abc==, Bearer REALM=y"),
            ["basic realm=x", "negotiate ", "bearer realm=y"]
        );
        assert_eq!(shown("Negotiate"), ["negotiate "]);
        assert_eq!(shown(" ,, "), Vec::<String>::new());
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        for header in [
            r#"Bearer realm="a",realm="b""#,
            r#"Bearer realm="a"#,
            r#"Bearer realm="a\"#,
            "realm=a",
            "Bearer realm=\"a\r\nb\"",
            "(",
            &"x".repeat(HEADER_MAX + 1),
            &"a,".repeat(MOST + 1),
        ] {
            assert!(parse(header).is_err(), "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn any_header_ends(header in "[a-zA-Z=\", \\\\]{0,60}|\\PC{0,60}") {
            let _ = parse(&header);
        }
    }
}
