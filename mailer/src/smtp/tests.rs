//! Servers that say what no real one says, or when no real one does.

use std::{future::Future, net::SocketAddr, time::Duration};

use lettre::Message;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::{connect::Connector, *};

type Lines = BufReader<TcpStream>;

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn settings(at: SocketAddr, security: Security) -> SmtpSettings {
    let (host, port) = ("127.0.0.1".to_owned(), at.port());
    SmtpSettings { host, port, security, connections: 1, ..SmtpSettings::default() }
}

fn mail() -> Message {
    let message = Message::builder().from("a@x.org".parse().unwrap()).to("b@x.org".parse().unwrap());
    message.body(String::from("Hello")).unwrap()
}

async fn send(smtp: &Smtp) -> Outcome {
    smtp.send(&mail(), smtp.turn().await).await
}

/// Fails instead of hanging.
async fn soon<T>(what: &str, of: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(Duration::from_secs(60), of).await;
    done.unwrap_or_else(|_| panic!("{what} takes longer than a minute"))
}

/// The next connection, greeted.
async fn accept(listener: &TcpListener) -> Lines {
    let (mut socket, _) = soon("a connection", listener.accept()).await.unwrap();
    socket.write_all(b"220 hello\r\n").await.unwrap();
    BufReader::new(socket)
}

/// Reads a command that begins so, and answers.
async fn answer(lines: &mut Lines, command: &str, with: &str) {
    let mut line = String::new();
    soon(command, lines.read_line(&mut line)).await.unwrap();
    assert!(line.starts_with(command), "{line:?} comes, not {command}");
    lines.get_mut().write_all(format!("{with}\r\n").as_bytes()).await.unwrap();
}

/// Reads a mail's content, and answers.
async fn take(lines: &mut Lines, with: &str) {
    let mut line = String::new();
    while line != ".\r\n" {
        line.clear();
        assert_ne!(soon("the content", lines.read_line(&mut line)).await.unwrap(), 0, "it ends");
    }
    lines.get_mut().write_all(format!("{with}\r\n").as_bytes()).await.unwrap();
}

/// All of a mail that is taken, from MAIL on.
async fn take_all(lines: &mut Lines) {
    answer(lines, "MAIL", "250 ok").await;
    answer(lines, "RCPT", "250 ok").await;
    answer(lines, "DATA", "354 go on").await;
    take(lines, "250 taken").await;
}

#[tokio::test]
async fn what_is_written_is_sent_at_once() {
    let (_listener, at) = listen().await;
    let connector = Connector::new(&settings(at, Security::Plain)).unwrap();
    assert!(connector.socket().await.unwrap().nodelay().unwrap());
}

#[tokio::test]
async fn one_connection_serves_many_mails_and_another_follows_when_it_has_ended() {
    let (listener, at) = listen().await;
    let smtp = Smtp::new(settings(at, Security::Plain)).unwrap();
    let server = tokio::spawn(async move {
        let mut lines = accept(&listener).await;
        answer(&mut lines, "EHLO", "250 here").await;
        take_all(&mut lines).await;
        // A refusal is forgotten on both sides before the next mail.
        answer(&mut lines, "MAIL", "250 ok").await;
        answer(&mut lines, "RCPT", "550 nobody").await;
        answer(&mut lines, "RSET", "250 ok").await;
        take_all(&mut lines).await;
        // It takes its leave, as servers do from who says nothing for long.
        lines.get_mut().write_all(b"421 too long\r\n").await.unwrap();
        drop(lines);
        let mut lines = accept(&listener).await;
        answer(&mut lines, "EHLO", "250 here").await;
        take_all(&mut lines).await;
        // And without a word.
        drop(lines);
        let mut lines = accept(&listener).await;
        answer(&mut lines, "EHLO", "250 here").await;
        take_all(&mut lines).await;
        lines
    });
    assert_eq!(send(&smtp).await, Outcome::Sent);
    assert!(matches!(send(&smtp).await, Outcome::Never(why) if why.contains("550 nobody")));
    for _ in 0..3 {
        assert_eq!(soon("a mail", send(&smtp)).await, Outcome::Sent);
    }
    soon("the server", server).await.unwrap();
}

#[tokio::test]
async fn a_mail_that_is_dropped_half_way_takes_its_connection_with_it() {
    let (listener, at) = listen().await;
    let smtp = Smtp::new(settings(at, Security::Plain)).unwrap();
    let (sender, mut half_way) = mpsc::channel(1);
    let server = tokio::spawn(async move {
        let mut lines = accept(&listener).await;
        answer(&mut lines, "EHLO", "250 here").await;
        answer(&mut lines, "MAIL", "250 ok").await;
        sender.send(()).await.unwrap();
        let mut lines = accept(&listener).await;
        answer(&mut lines, "EHLO", "250 here").await;
        take_all(&mut lines).await;
    });
    tokio::select! {
        outcome = send(&smtp) => panic!("{outcome:?}"),
        _ = soon("half a mail", half_way.recv()) => {}
    }
    assert_eq!(soon("a mail", send(&smtp)).await, Outcome::Sent);
    soon("the server", server).await.unwrap();
}

#[tokio::test]
async fn answers_out_of_turn_are_not_taken_for_those_that_are_due() {
    // Each of them is positive, and none is what the step waits for.
    for (at_data, at_the_end) in [("250 ok", ""), ("354 go on", "354 more")] {
        let (listener, at) = listen().await;
        let smtp = Smtp::new(settings(at, Security::Plain)).unwrap();
        let server = tokio::spawn(async move {
            let mut lines = accept(&listener).await;
            answer(&mut lines, "EHLO", "250 here").await;
            answer(&mut lines, "MAIL", "250 ok").await;
            answer(&mut lines, "RCPT", "250 ok").await;
            answer(&mut lines, "DATA", at_data).await;
            if !at_the_end.is_empty() {
                take(&mut lines, at_the_end).await;
            }
            let mut line = String::new();
            assert_eq!(soon("the end", lines.read_line(&mut line)).await.unwrap(), 0, "{line:?} follows");
        });
        let outcome = send(&smtp).await;
        match &outcome {
            Outcome::Later(why) if at_the_end.is_empty() && why.contains("it answers") => {}
            Outcome::Unknown(why) if !at_the_end.is_empty() && why.contains("it answers") => {}
            _ => panic!("{outcome:?}"),
        }
        soon("the server", server).await.unwrap();
    }
}

#[tokio::test]
async fn only_what_was_handed_over_may_have_been_taken() {
    for cut_at in ["MAIL", "RCPT", "DATA", "."] {
        let (listener, at) = listen().await;
        let smtp = Smtp::new(settings(at, Security::Plain)).unwrap();
        let server = tokio::spawn(async move {
            let mut lines = accept(&listener).await;
            answer(&mut lines, "EHLO", "250 here").await;
            let mut line = String::new();
            for (command, with) in [("MAIL", "250 ok"), ("RCPT", "250 ok"), ("DATA", "354 go on")] {
                if command == cut_at {
                    soon(command, lines.read_line(&mut line)).await.unwrap();
                    return;
                }
                answer(&mut lines, command, with).await;
            }
            while line != ".\r\n" {
                line.clear();
                soon("the content", lines.read_line(&mut line)).await.unwrap();
            }
        });
        let outcome = soon("a mail", send(&smtp)).await;
        assert_eq!(matches!(outcome, Outcome::Unknown(_)), cut_at == ".", "{cut_at}: {outcome:?}");
        assert!(matches!(outcome, Outcome::Unknown(_) | Outcome::Later(_)), "{cut_at}: {outcome:?}");
        soon("the server", server).await.unwrap();
    }
}

#[tokio::test]
async fn refusals_of_the_sender_and_of_everybody_are_no_refusals_of_the_mail() {
    for refused in ["220", "EHLO", "AUTH", "MAIL"] {
        let (listener, at) = listen().await;
        let user = (refused == "AUTH").then(|| "ada".to_owned());
        let password = "secret".to_owned().into();
        let smtp = Smtp::new(SmtpSettings { user, password, ..settings(at, Security::Plain) }).unwrap();
        let server = tokio::spawn(async move {
            if refused == "220" {
                let (mut socket, _) = listener.accept().await.unwrap();
                socket.write_all(b"554 nobody is let in\r\n").await.unwrap();
                return;
            }
            let mut lines = accept(&listener).await;
            if refused != "EHLO" {
                answer(&mut lines, "EHLO", "250-here\r\n250 AUTH PLAIN").await;
            }
            answer(&mut lines, refused, "550 not you").await;
        });
        let outcome = soon("a refusal", send(&smtp)).await;
        let is_sender = refused == "MAIL";
        assert!(matches!(outcome, Outcome::Later(_)) == is_sender, "{refused}: {outcome:?}");
        assert!(matches!(outcome, Outcome::Away(_)) != is_sender, "{refused}: {outcome:?}");
        soon("the server", server).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_said_in_the_clear_is_believed_under_tls() {
    let (listener, at) = listen().await;
    let smtp = Smtp::new(settings(at, Security::Starttls)).unwrap();
    let server = tokio::spawn(async move {
        let mut lines = accept(&listener).await;
        answer(&mut lines, "EHLO", "250-here\r\n250 STARTTLS").await;
        // Whoever is on the way puts in what the server would say after the handshake.
        answer(&mut lines, "STARTTLS", "220 go on\r\n250 AUTH PLAIN").await;
        let mut rest = Vec::new();
        let _ = soon("the end", tokio::io::AsyncReadExt::read_to_end(&mut lines, &mut rest)).await;
    });
    let outcome = soon("the handshake", send(&smtp)).await;
    assert!(matches!(&outcome, Outcome::Away(why) if why.contains("corrupt message")), "{outcome:?}");
    soon("the server", server).await.unwrap();
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let (listener, at) = listen().await;
    let smtp = Smtp::new(SmtpSettings { idle_seconds: 1, ..settings(at, Security::Plain) }).unwrap();
    let server = tokio::spawn(async move {
        let mut lines = accept(&listener).await;
        answer(&mut lines, "EHLO", "250 here").await;
        take_all(&mut lines).await;
        answer(&mut lines, "QUIT", "221 bye").await;
    });
    assert_eq!(send(&smtp).await, Outcome::Sent);
    soon("the goodbye", server).await.unwrap();
}
