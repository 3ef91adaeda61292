use super::*;

fn decoded(message: &str) -> Result<Message, Error> {
    decode(message.as_bytes(), &Limits::default())
}

#[test]
fn open_and_close_are_those_of_a_stream() {
    let open = "<open xmlns=\"urn:ietf:params:xml:ns:xmpp-framing\" to=\"example.com\" \
                version=\"1.0\" xml:lang=\"en\" id='ignored'/>";
    let Ok(Message::Open(header)) = decoded(open) else {
        panic!("an open")
    };
    assert_eq!(header.attributes.get("to"), Some("example.com"));
    let wire = crate::encode(&Message::Open(header)).expect("the version is fine");
    assert_eq!(
        wire,
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams' to='example.com' id='ignored' \
         version='1.0' xml:lang='en'>"
    );
    assert_eq!(
        decoded("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"),
        Ok(Message::Close)
    );
}

#[test]
fn a_message_is_exactly_one_element() {
    for one in [
        "<presence xmlns='jabber:client'/>",
        "<a xmlns='jabber:client'><b/></a> ",
    ] {
        assert!(matches!(decoded(one), Ok(Message::Stanza(_))), "{one}");
    }
    let cases = [
        ("", Error::NotOneElement),
        (" <a/>", Error::NotOneElement),
        ("text", Error::NotOneElement),
        ("<a>", Error::NotOneElement),
        ("<a/><b/>", Error::NotOneElement),
        ("<a/>text", Error::NotOneElement),
        ("<a/></x>", Error::NotOneElement),
        ("</x>", Error::NotOneElement),
        ("</x><x>", Error::NotOneElement),
        ("<?xml version='1.0'?><a/>", Error::RestrictedXml),
        ("<!-- a --><a/>", Error::RestrictedXml),
        ("<stream:features/>", Error::NotWellFormed),
        (
            "<other xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
            Error::InvalidNamespace,
        ),
    ];
    for (message, want) in cases {
        assert_eq!(decoded(message), Err(want), "{message}");
    }
}

#[test]
fn what_a_server_sends_stands_for_itself() {
    let mut decoder = Decoder::new(Limits::default());
    let mut input = &b"<stream:stream xmlns='jabber:client' id='s1' from='example.com' \
        xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>\
        <stream:features/><message><body>hi</body></message>\
        <success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></stream:stream>"[..];
    let mut next = || {
        decoder
            .decode(&mut input)
            .expect("well-formed")
            .expect("whole")
    };
    let Message::Open(header) = next() else {
        panic!("a header first")
    };
    let mut messages = vec![Message::Open(header.clone())];
    messages.extend((0..4).map(|_| next()));
    let written: Vec<Bytes> = messages
        .iter()
        .map(|message| encode(message, &header).expect("the version is fine"))
        .collect();
    assert_eq!(
        written,
        [
            "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='example.com' id='s1' version='1.0'/>",
            "<stream:features xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'/>",
            "<message xmlns='jabber:client'><body>hi</body></message>",
            "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
            "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
        ]
    );
    for message in &written {
        assert!(decode(message, &Limits::default()).is_ok(), "{message:?}");
    }
}

#[test]
fn an_error_stands_for_itself() {
    let error = stream_error(Error::NotWellFormed.condition());
    let Ok(Message::Stanza(error)) = decode(&error, &Limits::default()) else {
        panic!("an element")
    };
    assert!(error.name.is(ns::STREAM, "error"));
    assert!(error.has_child(ns::STREAM_ERRORS, "not-well-formed"));
}
