use super::*;

fn authenticate(param: &str) -> Message {
    Message::new("AUTHENTICATE", [param.to_owned()])
}

fn sent(step: Result<SaslStep, SaslError>) -> Vec<String> {
    let Ok(SaslStep::Send(messages)) = step else {
        panic!("nothing to send: {step:?}");
    };
    messages
        .iter()
        .map(|message| String::from_utf8(message.params[0].to_vec()).expect("base64"))
        .collect()
}

fn numeric(code: &str) -> Message {
    Message::new(code, ["me", "text"])
}

#[test]
fn plain_and_external() {
    let plain = Mechanism::Plain {
        account: "jilles".into(),
        password: "sesame".into(),
    };
    let (mut sasl, first) = Sasl::start(plain);
    assert_eq!(first, authenticate("PLAIN"));
    assert_eq!(
        sent(sasl.handle(&authenticate("+"))),
        ["AGppbGxlcwBzZXNhbWU="]
    );
    assert_eq!(
        sasl.handle(&numeric(numeric::RPL_LOGGEDIN)),
        Ok(SaslStep::Wait)
    );
    assert_eq!(
        sasl.handle(&numeric(numeric::RPL_SASLSUCCESS)),
        Ok(SaslStep::Success)
    );

    let (mut sasl, _) = Sasl::start(Mechanism::External);
    assert_eq!(sent(sasl.handle(&authenticate("+"))), ["+"]);
}

#[test]
fn long_responses_come_in_lines_of_400_bytes() {
    // 300 bytes of message are 400 of base64; three of them are the NULs and the account.
    let cases: [(usize, &[usize]); 3] = [(294, &[396]), (297, &[400, 1]), (298, &[400, 4])];
    for (password_bytes, want) in cases {
        let plain = Mechanism::Plain {
            account: "a".into(),
            password: "p".repeat(password_bytes),
        };
        let (mut sasl, _) = Sasl::start(plain);
        let lengths: Vec<usize> = sent(sasl.handle(&authenticate("+")))
            .iter()
            .map(String::len)
            .collect();
        assert_eq!(lengths, want, "{password_bytes}");
    }
}

#[test]
fn a_challenge_of_several_lines_is_put_together() {
    let scram = Mechanism::ScramSha256 {
        account: "user".into(),
        password: "pencil".into(),
        nonce: "nonce".into(),
    };
    let (mut sasl, _) = Sasl::start(scram);
    let first = sent(sasl.handle(&authenticate("+")));
    assert_eq!(first, [STANDARD.encode("n,,n=user,r=nonce")]);
    let server_first = format!("r=nonce{},s=QSXCR+Q6sek8bf92,i=4096", "x".repeat(400));
    let challenge = STANDARD.encode(server_first);
    let (start, end) = challenge.split_at(400);
    assert_eq!(sasl.handle(&authenticate(start)), Ok(SaslStep::Wait));
    let answer = sent(sasl.handle(&authenticate(end))).concat();
    let answer = STANDARD
        .decode(answer.trim_end_matches('+'))
        .expect("base64");
    assert!(answer.starts_with(b"c=biws,r=noncexxx"));
    assert_eq!(
        sasl.handle(&numeric(numeric::RPL_SASLSUCCESS)),
        Err(SaslError::ServerUnproven),
        "success without a proof"
    );
}

#[test]
fn a_challenge_without_end_is_refused() {
    let (mut sasl, _) = Sasl::start(Mechanism::External);
    let line = authenticate(&"A".repeat(CHUNK_BYTES));
    let error = (0..100).find_map(|_| sasl.handle(&line).err());
    assert_eq!(error, Some(SaslError::Protocol));
}

#[test]
fn why_it_failed() {
    for (code, want) in [
        (numeric::ERR_SASLFAIL, SaslError::Refused),
        (numeric::ERR_SASLALREADY, SaslError::NotNow),
        (numeric::ERR_NICKLOCKED, SaslError::NotNow),
        (numeric::RPL_SASLMECHS, SaslError::Mechanism),
    ] {
        let (mut sasl, _) = Sasl::start(Mechanism::External);
        assert_eq!(sasl.handle(&numeric(code)), Err(want), "{code}");
    }
    let (mut sasl, _) = Sasl::start(Mechanism::External);
    assert_eq!(sasl.handle(&authenticate("AAAA")), Err(SaslError::Protocol));
    assert_eq!(
        sasl.handle(&authenticate("not base64")),
        Err(SaslError::Protocol)
    );
}

#[test]
fn secrets_are_not_shown() {
    let (sasl, _) = Sasl::start(Mechanism::Plain {
        account: "jilles".into(),
        password: "sesame".into(),
    });
    assert!(!format!("{sasl:?}").contains("sesame"));
}
