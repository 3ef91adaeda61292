use proptest::prelude::*;

use super::*;
use crate::ns;

/// A stream header in front of everything, so that a case is what follows it.
const HEADER: &[u8] =
    b"<?xml version='1.0'?>\n<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

type Decoded = Vec<Result<String, Error>>;

fn decode_chunks<'a>(limits: Limits, chunks: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let mut decoder = Decoder::new(limits);
    let mut decoded = Vec::new();
    for mut input in chunks {
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(Message::Open(header))) => {
                    decoded.push(Ok(format!("open {}", header.name.local)));
                }
                Ok(Some(Message::Stanza(stanza))) => {
                    let text = String::from_utf8(stanza.bytes.to_vec()).expect("XML is UTF-8");
                    decoded.push(Ok(text));
                }
                Ok(Some(Message::Close)) => {
                    decoded.push(Ok("close".into()));
                    return decoded;
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.decode(&mut &b"<a/>"[..]), Err(error), "final");
                    decoded.push(Err(error));
                    return decoded;
                }
            }
        }
        assert!(input.is_empty(), "all of the input is taken");
        assert!(decoder.pending.len() <= limits.stanza_bytes);
    }
    decoded
}

/// The input whole, byte by byte and cut in two anywhere gives the same.
fn decode(limits: Limits, input: &[u8]) -> Decoded {
    let whole = decode_chunks(limits, [input]);
    assert_eq!(
        decode_chunks(limits, input.chunks(1)),
        whole,
        "byte by byte"
    );
    for at in 0..=input.len() {
        let (start, end) = input.split_at(at);
        assert_eq!(decode_chunks(limits, [start, end]), whole, "cut at {at}");
    }
    whole
}

/// What comes behind the stream header.
fn stanzas(limits: Limits, input: &[u8]) -> Decoded {
    let mut decoded = decode(limits, &[HEADER, input].concat());
    assert_eq!(decoded.remove(0), Ok("open stream".into()));
    decoded
}

#[test]
fn stanzas_come_out_as_they_were_written() {
    let cases: &[(&str, &[&str])] = &[
        ("", &[]),
        (" \n ", &[]),
        ("<a/>", &["<a/>"]),
        ("<a  b = 'c' />", &["<a  b = 'c' />"]),
        ("<a></a > <b>x</b>\n", &["<a></a >", "<b>x</b>"]),
        ("<a><a><a/></a></a>", &["<a><a><a/></a></a>"]),
        (
            "<a>&lt;&#x41;<![CDATA[</a>]]> ä€😀</a>",
            &["<a>&lt;&#x41;<![CDATA[</a>]]> ä€😀</a>"],
        ),
        (
            "<stream:features><x xmlns='y'/></stream:features>",
            &["<stream:features><x xmlns='y'/></stream:features>"],
        ),
        ("<a/></stream:stream>", &["<a/>", "close"]),
        ("<a/></stream:stream>\n<", &["<a/>", "close"]),
        ("<a><b>", &[]),
    ];
    for (input, want) in cases {
        let want: Decoded = want.iter().map(|&text| Ok(text.into())).collect();
        assert_eq!(
            stanzas(Limits::default(), input.as_bytes()),
            want,
            "{input}"
        );
    }
}

#[test]
fn what_xmpp_does_not_allow_is_refused() {
    let cases: &[(&[u8], Error)] = &[
        (b"<!-- a -->", Error::RestrictedXml),
        (b"<a><!-- a --></a>", Error::RestrictedXml),
        (b"<?a b?>", Error::RestrictedXml),
        (b"<a><?a b?></a>", Error::RestrictedXml),
        (b"<!DOCTYPE a>", Error::RestrictedXml),
        (b"<a>&b;</a>", Error::RestrictedXml),
        (b"<a>&#0;</a>", Error::NotWellFormed),
        (b"<a></b>", Error::NotWellFormed),
        (b"<a b='c' b='d'/>", Error::NotWellFormed),
        (b"<a b=c/>", Error::NotWellFormed),
        (b"<a:b/>", Error::NotWellFormed),
        (b"<a b:c='d'/>", Error::NotWellFormed),
        (b"<a>\xff</a>", Error::NotWellFormed),
        (b"text", Error::StrayText),
        (b"<a/>text<b/>", Error::StrayText),
    ];
    for (input, want) in cases {
        let decoded = stanzas(Limits::default(), &[input, &b"<z/>"[..]].concat());
        assert_eq!(
            decoded.last(),
            Some(&Err(*want)),
            "{}",
            input.escape_ascii()
        );
    }
    assert_eq!(
        decode(
            Limits::default(),
            b"<!DOCTYPE a [<!ENTITY b 'c'>]><stream:stream>"
        ),
        [Err(Error::RestrictedXml)]
    );
    assert_eq!(
        decode(
            Limits::default(),
            b"<?xml version='1.0' encoding='UTF-16'?><a>"
        ),
        [Err(Error::RestrictedXml)]
    );
}

#[test]
fn nothing_grows_past_its_limit() {
    let limits = Limits {
        stanza_bytes: 130,
        depth: 3,
        attributes: 4,
        namespaces: 5,
    };
    let padded = |text: usize| format!("<a>{}</a>", "x".repeat(text));
    assert_eq!(padded(123).len(), 130);
    assert_eq!(stanzas(limits, padded(123).as_bytes()), [Ok(padded(123))]);
    let endless = format!("<{}", "a".repeat(1000));
    for too_long in [padded(124), endless] {
        assert_eq!(
            stanzas(limits, too_long.as_bytes()),
            [Err(Error::StanzaTooLong { limit: 130 })]
        );
    }
    assert_eq!(
        stanzas(limits, b"<a><b><c/></b></a><a><b><c><d/></c></b></a>"),
        [
            Ok("<a><b><c/></b></a>".into()),
            Err(Error::TooDeep { limit: 3 })
        ]
    );
    assert_eq!(
        stanzas(
            limits,
            b"<x a='' b='' c='' d=''/><x a='' b='' c='' d='' e=''/>"
        ),
        [
            Ok("<x a='' b='' c='' d=''/>".into()),
            Err(Error::TooManyAttributes { limit: 4 })
        ]
    );
    // Two are declared by the stream header; what a closed element declared counts no longer.
    let declares = "<a xmlns='1'><b xmlns='2'/><b xmlns='2' xmlns:c='3'/></a>";
    assert_eq!(stanzas(limits, declares.as_bytes()), [Ok(declares.into())]);
    assert_eq!(
        stanzas(
            limits,
            b"<a xmlns='1'><b xmlns='2'><c xmlns='3' xmlns:d='4'/></b></a>"
        ),
        [Err(Error::TooManyNamespaces { limit: 5 })]
    );
    let space = " ".repeat(1000);
    assert_eq!(
        stanzas(limits, format!("{space}<a/>{space}<b/>").as_bytes()),
        [Ok("<a/>".into()), Ok("<b/>".into())],
        "space between stanzas is nobody's"
    );
}

#[test]
fn an_empty_outermost_element_is_opened_and_closed() {
    assert_eq!(
        decode(Limits::default(), b"<body/>"),
        [Ok("open body".into()), Ok("close".into())]
    );
}

#[test]
fn names_attributes_and_children_are_seen() {
    let mut decoder = Decoder::new(Limits::default());
    let features = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/>\
                    </starttls><m xmlns='x'/></stream:features>";
    let wire = [
        HEADER,
        b"<iq type='get' xml:lang='en' to='a&amp;b'><q xmlns='q'><r/></q></iq>",
        features.as_bytes(),
    ]
    .concat();
    let mut input = &wire[..];
    let mut next = || {
        decoder
            .decode(&mut input)
            .expect("well-formed")
            .expect("whole")
    };
    let Message::Open(header) = next() else {
        panic!("a header first")
    };
    assert!(header.name.is(ns::STREAM, "stream"));
    let Message::Stanza(iq) = next() else {
        panic!("a stanza")
    };
    assert!(iq.name.is(ns::CLIENT, "iq"));
    assert_eq!(iq.attributes.get("to"), Some("a&b"));
    assert_eq!(iq.attributes.get_ns(ns::XML, "lang"), Some("en"));
    assert_eq!(iq.attributes.get("lang"), None);
    assert!(iq.has_child("q", "q") && !iq.has_child("q", "r"));
    assert_eq!(
        iq.standalone(&header),
        "<iq xmlns='jabber:client' type='get' xml:lang='en' to='a&amp;b'><q xmlns='q'><r/></q></iq>"
    );
    let Message::Stanza(with) = next() else {
        panic!("features")
    };
    assert_eq!(with.children.len(), 2);
    let without = with.without_child(ns::TLS, "starttls");
    assert_eq!(
        without.bytes,
        "<stream:features><m xmlns='x'/></stream:features>"
    );
    assert_eq!(
        without.standalone(&header),
        "<stream:features xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>\
         <m xmlns='x'/></stream:features>"
    );
    assert_eq!(
        without.without_child("x", "m").bytes,
        "<stream:features></stream:features>"
    );
}

#[test]
fn a_stream_starts_over() {
    let mut decoder = Decoder::new(Limits::default());
    let wire = [HEADER, b"<success/>"].concat();
    let mut input = &wire[..];
    while decoder.decode(&mut input).expect("well-formed").is_some() {}
    decoder.restart();
    let mut input = HEADER;
    assert!(matches!(
        decoder.decode(&mut input),
        Ok(Some(Message::Open(_)))
    ));
}

proptest! {
    #[test]
    fn any_bytes_end_in_messages_or_one_error(
        input in proptest::collection::vec(
            proptest::sample::select(b"<<<>>>//ab:='\" &;!-?[]\n\xc3\xa4x".to_vec()), 0..60,
        ),
    ) {
        let limits = Limits { stanza_bytes: 130, depth: 2, attributes: 2, namespaces: 4 };
        let decoded = stanzas(limits, &input);
        let errors = decoded.iter().filter(|message| message.is_err()).count();
        prop_assert!(errors <= 1);
    }

    #[test]
    fn stanzas_of_any_text_pass(texts in proptest::collection::vec("\\PC{0,20}", 0..5)) {
        let want: Vec<String> = texts
            .iter()
            .map(|text| {
                let text = crate::escape(text);
                format!("<message a='{text}'><body>{text}</body></message>")
            })
            .collect();
        let decoded: Result<Vec<String>, Error> =
            stanzas(Limits::default(), want.concat().as_bytes()).into_iter().collect();
        prop_assert_eq!(decoded, Ok(want));
    }
}
