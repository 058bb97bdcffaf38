//! The documents of image archives: what is read is one thing, and is written again without a change of meaning.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lrun_runtime::image::archive::documents::{Document, OCI_INDEX, OCI_MANIFEST, docker_images, is_of_use, since};

fuzz_target!(|data: &[u8]| {
    for media_type in ["", OCI_MANIFEST, OCI_INDEX] {
        let Ok(document) = Document::read(data, media_type) else { continue };
        let (bytes, own) = match &document {
            Document::Manifest(manifest) => (serde_json::to_vec(manifest), &manifest.media_type),
            Document::Index(index) => (serde_json::to_vec(index), &index.media_type),
        };
        let bytes = bytes.expect("a document that was read can be written");
        assert_eq!(Document::read(&bytes, own).expect("lrun's own document"), document);
    }
    let _ = (docker_images(data), since(data), is_of_use(data));
});
