//! Certificates for tests of TLS.

use std::{fs, path::Path, process::Command};

use crate::programs;

/// Makes an authority (`ca.pem`), and a certificate of it for both sides of a connection (`cert.pem`, `key.pem`) in `dir`.
/// `names` is what it is good for, as openssl writes it: `DNS:localhost,IP:127.0.0.1`.
///
/// False, said loudly, where there is no openssl.
pub fn certificates(dir: &Path, names: &str) -> bool {
    certificates_for(dir, names, 2)
}

/// The same, good for so many days; 0: for this second.
pub(crate) fn certificates_for(dir: &Path, names: &str, days: u32) -> bool {
    let Some(openssl) = programs::find_or_say("openssl") else { return false };
    let extensions = format!(
        "subjectAltName={names}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n"
    );
    fs::write(dir.join("extensions"), extensions)
        .unwrap_or_else(|error| panic!("cannot write to {}: {error}", dir.display()));
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for line in [
        &format!("req -x509 {key} -days 2 -subj /CN=authority -keyout ca.key -out ca.pem"),
        &format!("req {key} -subj /CN=tests -keyout key.pem -out request.pem"),
        &format!(
            "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -extfile extensions -out cert.pem"
        ),
    ] {
        let done = Command::new(&openssl).args(line.split(' ')).current_dir(dir).output();
        assert!(done.is_ok_and(|done| done.status.success()), "openssl {line}");
    }
    true
}
