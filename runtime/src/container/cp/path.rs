//! Paths as they are typed for `cp`: cleaned by their text, as docker does, and whether their end asks for a directory.
//! Pure.

/// How a path ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Name,
    /// `…/`: it is a directory.
    Slash,
    /// `…/.`: it is a directory, and what is in it is meant.
    Dot,
}

/// A path that was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    path: Vec<u8>,
    end: End,
}

impl Typed {
    /// Relative to this directory, which is absolute.
    pub fn new(directory: &[u8], text: &[u8]) -> Self {
        let whole = if text.starts_with(b"/") { text.to_vec() } else { [directory, b"/", text].concat() };
        let mut path: Vec<&[u8]> = Vec::new();
        for name in whole.split(|b| *b == b'/') {
            match name {
                b"" | b"." => {}
                b".." => drop(path.pop()),
                name => path.push(name),
            }
        }
        let path = [b"/", path.join(&b'/').as_slice()].concat();
        let mut stripped = text;
        while let Some(shorter) = stripped.strip_suffix(b"/") {
            stripped = shorter;
        }
        let end = if stripped == b"." || stripped.ends_with(b"/.") {
            End::Dot
        } else if text.ends_with(b"/") {
            End::Slash
        } else {
            End::Name
        };
        Self { path, end }
    }

    /// In a container, whose paths begin at its root.
    pub fn inside(text: &[u8]) -> Self {
        Self::new(b"", text)
    }

    /// The path, absolute and clean.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The directory above.
    pub fn parent(&self) -> &[u8] {
        match self.path.iter().rposition(|b| *b == b'/') {
            Some(0) | None => b"/",
            Some(at) => self.path.get(..at).unwrap_or(b"/"),
        }
    }

    /// Its last name; `None`: what is in it is meant, or it is the root.
    pub fn name(&self) -> Option<&[u8]> {
        let name = self.path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        (self.end != End::Dot && !name.is_empty()).then_some(name)
    }

    /// Whether its end says that it is a directory.
    pub fn asserts_directory(&self) -> bool {
        self.end != End::Name || self.path == b"/"
    }

    /// The same, and it is a directory.
    #[must_use]
    pub fn as_directory(&self) -> Self {
        let end = if self.end == End::Name { End::Slash } else { self.end };
        Self { path: self.path.clone(), end }
    }

    /// For messages.
    pub fn shown(&self) -> String {
        let end: &[u8] = match self.end {
            End::Name => b"",
            _ if self.path == b"/" => b"",
            End::Slash => b"/",
            End::Dot => b"/.",
        };
        String::from_utf8_lossy(&[self.path.as_slice(), end].concat()).into_owned()
    }
}

/// What is at the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum There {
    Nothing,
    Directory,
    Other,
}

/// Where the source goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goes {
    /// Into the directory that the destination is, under this name; `None`: what is in the source.
    Into(Option<Vec<u8>>),
    /// To where the destination is, under its name.
    There,
}

/// Docker's rules: where a source goes that is a directory or is not; the reason why not.
pub fn decide(from: &Typed, directory: bool, to: &Typed, there: There) -> Result<Goes, &'static str> {
    match there {
        There::Directory => Ok(Goes::Into(from.name().map(<[u8]>::to_vec))),
        There::Other if directory => Err("cannot copy directory"),
        There::Other if to.asserts_directory() => Err("not a directory"),
        There::Nothing if !directory && to.asserts_directory() => Err("no such directory"),
        There::Nothing | There::Other => Ok(Goes::There),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_by_their_text() {
        // Text, path, name, whether it asserts a directory, shown.
        let cases: [(&str, &str, Option<&str>, bool, &str); 14] = [
            ("x", "/cwd/x", Some("x"), false, "/cwd/x"),
            ("/a//b/./c", "/a/b/c", Some("c"), false, "/a/b/c"),
            ("/a/../b", "/b", Some("b"), false, "/b"),
            ("/../..", "/", None, true, "/"),
            ("/", "/", None, true, "/"),
            ("x/", "/cwd/x", Some("x"), true, "/cwd/x/"),
            ("x//", "/cwd/x", Some("x"), true, "/cwd/x/"),
            (".", "/cwd", None, true, "/cwd/."),
            ("./", "/cwd", None, true, "/cwd/."),
            ("x/.", "/cwd/x", None, true, "/cwd/x/."),
            ("x/./", "/cwd/x", None, true, "/cwd/x/."),
            ("..", "/", None, true, "/"),
            ("x/..", "/cwd", Some("cwd"), false, "/cwd"),
            (".x", "/cwd/.x", Some(".x"), false, "/cwd/.x"),
        ];
        for (text, path, name, asserts, shown) in cases {
            let typed = Typed::new(b"/cwd", text.as_bytes());
            let found = (typed.path(), typed.name(), typed.asserts_directory(), typed.shown());
            assert_eq!(found, (path.as_bytes(), name.map(str::as_bytes), asserts, shown.to_owned()), "{text}");
        }
        assert_eq!(Typed::inside(b"etc").path(), b"/etc");
        assert_eq!(Typed::inside(b"").path(), b"/");
        assert_eq!(Typed::inside(b"/a/b").parent(), b"/a");
        assert_eq!(Typed::inside(b"a").parent(), b"/");
    }

    #[test]
    fn dockers_rules() {
        use There::{Directory, Nothing, Other};
        let into = |name: Option<&str>| Ok(Goes::Into(name.map(|name| name.as_bytes().to_vec())));
        // Source, whether it is a directory, destination, what is there.
        let cases = [
            ("f", false, "d", Nothing, Ok(Goes::There)),
            ("f", false, "d/", Nothing, Err("no such directory")),
            ("f", false, "d", Other, Ok(Goes::There)),
            ("f", false, "d/", Other, Err("not a directory")),
            ("f", false, "d", Directory, into(Some("f"))),
            ("f", false, "d/", Directory, into(Some("f"))),
            ("s", true, "d", Nothing, Ok(Goes::There)),
            ("s", true, "d/", Nothing, Ok(Goes::There)),
            ("s/.", true, "d", Nothing, Ok(Goes::There)),
            ("s", true, "d", Other, Err("cannot copy directory")),
            ("s", true, "d", Directory, into(Some("s"))),
            ("s/", true, "d", Directory, into(Some("s"))),
            ("s/.", true, "d", Directory, into(None)),
            ("/", true, "d", Directory, into(None)),
        ];
        for (from, directory, to, there, wanted) in cases {
            let (from_typed, to_typed) = (Typed::inside(from.as_bytes()), Typed::inside(to.as_bytes()));
            assert_eq!(decide(&from_typed, directory, &to_typed, there), wanted, "{from} {to} {there:?}");
        }
    }
}
