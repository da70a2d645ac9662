//! Which passwords are accepted; how they are kept is in `hashing`.

use super::Secret;

/// The worst of those with at least 8 characters, in lower case; from what leaks have had at their top for years.
const WORST: &[&str] = &[
    "00000000",
    "0987654321",
    "11111111",
    "1111111111",
    "11223344",
    "12121212",
    "123123123",
    "12341234",
    "12344321",
    "1234567890",
    "123456789",
    "12345678",
    "1234567891",
    "123456789a",
    "1234qwer",
    "123qwe123",
    "147258369",
    "1q2w3e4r",
    "1q2w3e4r5t",
    "1qaz2wsx",
    "22222222",
    "55555555",
    "66666666",
    "77777777",
    "87654321",
    "88888888",
    "987654321",
    "99999999",
    "a1234567",
    "a12345678",
    "a123456789",
    "aa123456",
    "aaaaaaaa",
    "abc12345",
    "abcd1234",
    "abcdefgh",
    "administrator",
    "asdfasdf",
    "asdfghjkl",
    "babygirl",
    "baseball",
    "basketball",
    "butterfly",
    "changeme",
    "chocolate",
    "computer",
    "corvette",
    "creative",
    "danielle",
    "dragon123",
    "elephant",
    "football",
    "iloveyou",
    "iloveyou1",
    "internet",
    "jennifer",
    "jonathan",
    "letmein1",
    "liverpool",
    "lovelove",
    "marlboro",
    "michelle",
    "midnight",
    "password",
    "password1",
    "password12",
    "password123",
    "passw0rd",
    "p@ssw0rd",
    "p@ssword",
    "pokemon1",
    "princess",
    "princess1",
    "q1w2e3r4",
    "qazwsxedc",
    "qwer1234",
    "qwerty12",
    "qwerty123",
    "qwertyui",
    "qwertyuiop",
    "samantha",
    "spiderman",
    "starwars",
    "sunshine",
    "superman",
    "swordfish",
    "test1234",
    "trustno1",
    "victoria",
    "welcome1",
    "whatever",
    "zaq12wsx",
    "zxcvbnm1",
    "zxcvbnm123",
];

/// Checks a new password by the rules of NIST SP 800-63B, 3.1.1: length, no list of required kinds of characters, none
/// that everybody tries first.
///
/// # Errors
/// A sentence that says what is wrong.
pub(super) fn check(password: &Secret, email: &str, username: Option<&str>) -> Result<(), &'static str> {
    let password = password.expose();
    match password.chars().count() {
        0..8 => return Err("A password has at least 8 characters."),
        8..=128 => {}
        _ => return Err("A password has at most 128 characters."),
    }
    let folded = password.to_lowercase();
    let local = email.split('@').next().unwrap_or_default();
    if folded == email.to_lowercase() || folded == local.to_lowercase() {
        return Err("The password is your e-mail address.");
    }
    if username.is_some_and(|name| folded == name.to_lowercase()) {
        return Err("The password is your username.");
    }
    let mut characters = folded.chars();
    let first = characters.next();
    if WORST.contains(&folded.as_str()) || characters.all(|c| Some(c) == first) {
        return Err("This password is one of those that are tried first; choose another one.");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        text.to_owned().into()
    }

    #[test]
    fn rules() {
        let check = |text: &str| check(&secret(text), "ada.lovelace@example.org", Some("countess-ada"));
        assert_eq!(check("correct horse battery staple"), Ok(()));
        assert_eq!(check("пароль-длинный"), Ok(()));
        assert_eq!(check(&"ab".repeat(64)), Ok(()));
        for text in [
            "",
            "short12",
            "password",
            "Password123",
            "12345678",
            "aaaaaaaaaaaa",
            "Ada.Lovelace",
            "COUNTESS-ADA",
            "ada.lovelace@example.org",
            &"ab".repeat(65),
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }
}
