//! Ways to reach an SMTP server, and what is said when they do not work.

use rookery_testbed::SmtpOptions;

use crate::world::World;

fn test(world: &World, smtp: &str) -> (bool, String) {
    let done = world.command(&["send-test", "--to", "ops@example.org"], &world.settings(smtp));
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(!said.contains("secret"), "{said}");
    (done.status.success(), said)
}

#[test]
fn tls_and_every_way_to_log_in() {
    let options = SmtpOptions {
        tls: true,
        users: vec![("chat".into(), "secret".into())],
        tokens: vec![("chat@example.org".into(), "secret-token".into())],
        ..SmtpOptions::default()
    };
    let Some(world) = World::new(&options) else { return };
    let (port, tls_port, ca) = (world.smtp.port(), world.smtp.tls_port(), world.smtp.ca());
    let trusted = format!("tls_ca = '{}'\ntimeout_seconds = 30\n", ca.display());
    let user = "user = 'chat'\npassword = 'secret'\n";
    let token = format!(
        "{trusted}port = {port}\nlogin = 'xoauth2'\nuser = 'chat@example.org'\npassword_file = '{}'\n",
        world.write("token", "secret-token\n")
    );
    let good = [
        (format!("{trusted}{user}port = {port}\n"), "PLAIN"),
        (format!("{trusted}{user}port = {port}\nlogin = 'plain'\n"), "PLAIN"),
        (format!("{trusted}{user}port = {port}\nlogin = 'login'\n"), "LOGIN"),
        (format!("{trusted}{user}port = {tls_port}\nsecurity = 'implicit'\n"), "PLAIN"),
        (token, "XOAUTH2"),
    ];
    for (n, (smtp, login)) in good.iter().enumerate() {
        let (done, said) = test(&world, smtp);
        assert!(
            done && said.contains("connected and logged in") && said.contains("took a mail"),
            "{smtp}{said}"
        );
        let mails = world.smtp.mails();
        assert_eq!(mails.len(), n + 1);
        assert_eq!((&mails[n]["tls"], &mails[n]["login"]), (&true.into(), &(*login).into()), "{smtp}");
    }
    for (smtp, wanted) in [
        (
            format!("{trusted}port = {port}\nuser = 'chat'\npassword = 'secret1'\n"),
            "refuses smtp.user, its password",
        ),
        (format!("{trusted}port = {port}\n"), "530"),
        (
            format!("{user}port = {port}\n"),
            "signed by an authority that is not trusted here: set smtp.tls_ca",
        ),
        (
            format!("{user}port = {tls_port}\nsecurity = 'implicit'\n"),
            "signed by an authority that is not trusted here",
        ),
        (
            format!("{trusted}{user}port = {tls_port}\ntimeout_seconds = 1\n").replacen(
                "timeout_seconds = 30\n",
                "",
                1,
            ),
            "does not answer",
        ),
        ("port = 1\nsecurity = 'plain'\n".to_owned(), "cannot be used"),
    ] {
        let (done, said) = test(&world, &smtp);
        assert!(!done && said.contains(wanted), "{smtp}{said}");
    }
    assert_eq!(world.smtp.mails().len(), good.len());
}

#[test]
fn login_is_used_where_there_is_no_plain() {
    let options = SmtpOptions {
        tls: true,
        users: vec![("chat".into(), "secret".into())],
        without: vec!["PLAIN".into()],
        ..SmtpOptions::default()
    };
    let Some(world) = World::new(&options) else { return };
    let (port, ca) = (world.smtp.port(), world.smtp.ca());
    let user = format!("tls_ca = '{}'\nport = {port}\nuser = 'chat'\npassword = 'secret'\n", ca.display());
    let (done, said) = test(&world, &user);
    assert!(done, "{said}");
    assert_eq!(world.smtp.mails()[0]["login"], "LOGIN");
    // Who wants PLAIN and nothing else is not logged in by another way.
    let (done, said) = test(&world, &format!("{user}login = 'plain'\n"));
    assert!(!done, "{said}");
    assert_eq!(world.smtp.mails().len(), 1);
}

#[test]
fn a_certificate_that_has_expired_is_told() {
    let options = SmtpOptions { tls: true, expired: true, ..SmtpOptions::default() };
    let Some(world) = World::new(&options) else { return };
    let smtp = format!("tls_ca = '{}'\nport = {}\n", world.smtp.ca().display(), world.smtp.port());
    // It is good for the second in which it was made.
    let (mut said, mut done) = (String::new(), true);
    rookery_testbed::eventually("it has expired", String::new, || {
        (done, said) = test(&world, &smtp);
        (!done).then_some(())
    });
    assert!(said.contains("has expired: it must be renewed there"), "{said}");
}

#[test]
fn certificates_for_other_names_and_servers_without_tls_are_refused_by_name() {
    let options = SmtpOptions { tls: true, names: "DNS:mail.example.net".into(), ..SmtpOptions::default() };
    let Some(world) = World::new(&options) else { return };
    let smtp = format!("tls_ca = '{}'\nport = {}\n", world.smtp.ca().display(), world.smtp.port());
    let (done, said) = test(&world, &smtp);
    assert!(!done && said.contains("mail.example.net") && said.contains("not for localhost"), "{said}");

    let Some(world) = World::new(&SmtpOptions::default()) else { return };
    let port = world.smtp.port();
    let (done, said) = test(&world, &format!("port = {port}\n"));
    assert!(!done && said.contains("does not offer STARTTLS"), "{said}");
    assert!(world.smtp.mails().is_empty());
    let (done, said) = test(&world, &format!("port = {port}\nsecurity = 'plain'\n"));
    assert!(done, "{said}");
    let (done, said) =
        test(&world, &format!("port = {port}\nsecurity = 'plain'\nuser = 'a'\npassword = 'secret'\n"));
    assert!(!done && said.contains("smtp.security (file "), "{said}");
    assert!(said.contains("): must not be plain with a user"), "{said}");
}
