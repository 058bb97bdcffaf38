//! What registries send: manifests, challenges, links, URLs. Whatever comes is refused or read, and a URL that was read
//! means the same when it is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lrun_runtime::registry::manifest::{self, ACCEPTED};
use lrun_runtime::registry::url::Url;
use lrun_runtime::registry::{challenge, link};

fuzz_target!(|data: &[u8]| {
    for media_type in ACCEPTED {
        let _ = manifest::parse(data, media_type);
    }
    let _ = manifest::parse_kept(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = (challenge::parse(text), link::next(text));
    if let Ok(url) = Url::parse(text) {
        assert_eq!(Url::parse(&url.to_string()).expect("lrun's own URL"), url);
    }
    let base = Url::parse("https://registry.example/v2/x/").expect("a URL");
    if let Ok(joined) = base.join(text) {
        assert_eq!(Url::parse(&joined.to_string()).expect("lrun's own URL"), joined);
    }
});
