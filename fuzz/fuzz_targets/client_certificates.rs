//! Nobody who writes x-forwarded-client-cert before a proxy does is taken for whom it names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use token_authority::domain::peer_name::PeerName;
use token_authority::transport::sidecar::xfcc;

const HONEST: &str = "spiffe://td/honest";

fuzz_target!(|written: &str| {
    let _ = xfcc::names(written);
    for subject in ["", ";Subject=\"\"", ";Subject=\"CN=me,O=\\\"us\\\"\""] {
        let added = format!("By=spiffe://td/proxy;Hash=ab{subject};URI={HONEST}");
        if let Ok(names) = xfcc::names(&format!("{written},{added}")) {
            assert_eq!(names, [PeerName::Uri(HONEST.to_owned())], "{written:?}");
        }
    }
});
