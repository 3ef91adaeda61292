//! The rules of the protocol as a table of stories: what a client sends, what it is answered, what
//! the server gets.

use proptest::prelude::*;

use super::*;
use crate::Limits;

const FIRST_RID: u64 = 1000;

struct Story {
    session: Session,
    start: Instant,
    now: Instant,
    next_request: u64,
    answers: Vec<(u64, u16, String)>,
    /// What the server got, streams in front.
    sent: Vec<String>,
    is_over: bool,
}

#[expect(clippy::disallowed_methods, reason = "a test needs a first moment")]
fn moment() -> Instant {
    Instant::now()
}

fn body(attributes: &str, payload: &str) -> Body {
    let content = format!(
        "<body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' {attributes}>{payload}</body>"
    );
    Body::decode(content.as_bytes(), &Limits::default()).expect("the stories are well-formed")
}

impl Story {
    /// A session whose first request was answered.
    fn new(attributes: &str) -> Self {
        let mut story = Self::unanswered(attributes);
        story.server("<features xmlns='s'/>");
        let creation = story.answer();
        assert!(creation.contains(" sid='sid-1'"), "{creation}");
        story.sent.clear();
        story
    }

    fn unanswered(attributes: &str) -> Self {
        let start = moment();
        let first = body(
            &format!("rid='{FIRST_RID}' to='example.com' {attributes}"),
            "",
        );
        let session = Session::new(Config::default(), "sid-1", 0, &first, start)
            .expect("the first request is fine");
        let mut story = Self {
            session,
            start,
            now: start,
            next_request: 1,
            answers: Vec::new(),
            sent: Vec::new(),
            is_over: false,
        };
        story.collect();
        assert_eq!(story.sent, ["1: open example.com"]);
        story
    }

    /// A client as most are: one request on hold.
    fn held() -> Self {
        Self::new("wait='60' hold='1' ver='1.6' ack='1'")
    }

    fn collect(&mut self) {
        while let Some(action) = self.session.poll_action() {
            assert!(!self.is_over, "{action:?} behind the end");
            match action {
                Action::Open { stream, header } => self.sent.push(format!(
                    "{stream}: open {}",
                    header.attributes.get("to").unwrap_or_default()
                )),
                Action::Restart { stream, .. } => self.sent.push(format!("{stream}: restart")),
                Action::Send { stream, element } => {
                    let element = String::from_utf8(element.to_vec()).expect("XML");
                    self.sent.push(format!("{stream}: {element}"));
                }
                Action::Close { stream } => self.sent.push(format!("{stream}: close")),
                Action::Abandon { stream } => self.sent.push(format!("{stream}: abandon")),
                Action::Respond {
                    request,
                    status,
                    body,
                    ..
                } => {
                    let body = String::from_utf8(body.to_vec()).expect("XML");
                    self.answers.push((request, status, body));
                }
                Action::End => self.is_over = true,
            }
        }
    }

    /// Sends request `FIRST_RID + n`, and gives the number of the HTTP request.
    fn request(&mut self, n: u64, attributes: &str, payload: &str) -> u64 {
        let request = self.next_request;
        self.next_request += 1;
        let body = body(
            &format!("rid='{}' sid='sid-1' {attributes}", FIRST_RID + n),
            payload,
        );
        self.session.handle_request(request, body, self.now);
        self.collect();
        request
    }

    fn server(&mut self, element: &'static str) {
        self.server_on(1, element);
    }

    fn server_on(&mut self, stream: StreamName, element: &'static str) {
        self.session
            .handle_element(stream, Bytes::from_static(element.as_bytes()), self.now);
        self.collect();
    }

    fn after(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.session.handle_timeout(self.now);
        self.collect();
    }

    /// The one answer since the last time.
    fn answer(&mut self) -> String {
        let answers = std::mem::take(&mut self.answers);
        let [(_, 200, answer)] = &answers[..] else {
            panic!("not one answer: {answers:?}")
        };
        answer.clone()
    }

    /// Who was answered since the last time.
    fn answered(&mut self) -> Vec<u64> {
        self.answers
            .drain(..)
            .map(|(request, ..)| request)
            .collect()
    }

    fn ends_with(&mut self, condition: &str) {
        let answers = std::mem::take(&mut self.answers);
        assert!(!answers.is_empty(), "nobody was told");
        for (_, _, answer) in answers {
            assert!(
                answer.contains(&format!("type='terminate' condition='{condition}'")),
                "{answer}"
            );
        }
        assert!(self.is_over);
        assert_eq!(self.session.poll_timeout(), None);
        assert!(
            self.sent.contains(&"1: close".to_owned()),
            "{:?}",
            self.sent
        );
    }
}

#[test]
fn a_session_begins_with_what_was_agreed_on() {
    let mut story = Story::unanswered("wait='300' hold='5' ver='1.20' ack='1' xml:lang='en'");
    assert!(story.answers.is_empty(), "waits for the server");
    let mut header = StreamHeader::to("");
    header.attributes.0[0] = (
        crate::Name {
            namespace: String::new(),
            local: "id".into(),
        },
        "stream-7".into(),
    );
    story.session.handle_open(1, &header);
    story.server("<features xmlns='s'/>");
    assert_eq!(
        story.answer(),
        "<body xmlns='http://jabber.org/protocol/httpbind' sid='sid-1' wait='60' ver='1.11' hold='1' \
         requests='2' inactivity='60' polling='5' maxpause='300' authid='stream-7' stream='1' \
         xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0' xmpp:restartlogic='true' ack='1000'>\
         <features xmlns='s'/></body>"
    );
}

#[test]
fn a_session_that_cannot_begin_is_refused() {
    let refused = |attributes: &str| {
        let first = body(&format!("rid='1' {attributes}"), "");
        Session::new(Config::default(), "sid", 0, &first, moment()).err()
    };
    assert_eq!(refused(""), Some(Condition::ImproperAddressing));
    assert_eq!(refused("to=''"), Some(Condition::ImproperAddressing));
    assert_eq!(refused("to='a' wait='x'"), Some(Condition::BadRequest));
    assert_eq!(refused("to='a' hold='-1'"), Some(Condition::BadRequest));
    assert_eq!(refused("to='a' ver='x'"), Some(Condition::BadRequest));
    let legacy = body("rid='1' to='a'", "");
    assert_eq!(Condition::BadRequest.refuse(Some(&legacy)).0, 400);
    let modern = body("rid='1' ver='1.6'", "");
    let (status, content) = Condition::ItemNotFound.refuse(Some(&modern));
    assert_eq!(status, 200);
    assert_eq!(
        content,
        "<body xmlns='http://jabber.org/protocol/httpbind' type='terminate' condition='item-not-found'/>"
    );
}

#[test]
fn a_request_waits_for_the_server() {
    let mut story = Story::held();
    story.request(1, "", "");
    assert!(story.answers.is_empty());
    story.server("<message xmlns='m'/>");
    assert_eq!(
        story.answer(),
        "<body xmlns='http://jabber.org/protocol/httpbind'><message xmlns='m'/></body>"
    );
    story.server("<a xmlns='m'/>");
    story.server("<b xmlns='m'/>");
    assert!(story.answers.is_empty(), "nobody waits");
    assert_eq!(story.session.queued_bytes(), 28);
    story.request(2, "", "");
    assert!(story.answer().contains("<a xmlns='m'/><b xmlns='m'/>"));
    assert_eq!(story.session.queued_bytes(), 0);
}

#[test]
fn no_request_waits_longer_than_agreed() {
    let mut story = Story::new("wait='10' hold='1' ver='1.6'");
    story.request(1, "", "");
    story.after(9);
    assert!(story.answers.is_empty());
    story.after(1);
    assert_eq!(
        story.answer(),
        "<body xmlns='http://jabber.org/protocol/httpbind'/>"
    );
}

#[test]
fn no_more_requests_wait_than_agreed() {
    let mut story = Story::held();
    let first = story.request(1, "", "<presence/>");
    story.request(2, "", "");
    assert_eq!(story.answered(), [first], "the older one");
    assert_eq!(story.sent, ["1: <presence xmlns='jabber:client'/>"]);
}

#[test]
fn requests_are_taken_in_their_order() {
    let mut story = Story::held();
    let second = story.request(2, "", "<b/>");
    assert!(story.sent.is_empty() && story.answers.is_empty());
    let first = story.request(1, "", "<a/>");
    assert_eq!(
        story.sent,
        [
            "1: <a xmlns='jabber:client'/>",
            "1: <b xmlns='jabber:client'/>"
        ]
    );
    assert_eq!(story.answered(), [first]);
    story.server("<m xmlns='m'/>");
    assert_eq!(story.answered(), [second]);
}

#[test]
fn a_repeated_request_gets_the_same_answer() {
    let mut story = Story::held();
    story.request(1, "", "<a/>");
    story.server("<m xmlns='m'/>");
    let answer = story.answer();
    story.server("<n xmlns='m'/>");
    story.request(1, "", "<a/>");
    assert_eq!(story.answer(), answer);
    assert_eq!(story.sent.len(), 1, "passed on once");
    story.request(2, "", "");
    assert!(story.answer().contains("<n "));
}

#[test]
fn a_request_repeated_while_it_waits_is_answered_too() {
    let mut story = Story::held();
    let first = story.request(1, "", "<a/>");
    story.session.request_gone(first);
    let again = story.request(1, "", "<a/>");
    let once_more = story.request(1, "", "<a/>");
    story.server("<m xmlns='m'/>");
    assert_eq!(story.answered(), [again, once_more]);
    assert_eq!(story.sent.len(), 1);
}

#[test]
fn repeating_without_end_is_not_allowed() {
    let mut story = Story::held();
    for _ in 0..MAX_REPETITIONS {
        story.request(1, "", "");
    }
    story.request(1, "", "");
    story.ends_with("policy-violation");
}

#[test]
fn a_request_out_of_the_window_ends_the_session() {
    let mut story = Story::held();
    story.request(3, "", "");
    story.ends_with("item-not-found");
}

#[test]
fn an_answer_that_is_no_longer_kept_ends_the_session() {
    let mut story = Story::new("wait='60' hold='1' ver='1.6'");
    for n in 1..=4 {
        story.request(n, "", "");
    }
    story.answers.clear();
    story.request(2, "", "");
    assert_eq!(story.answers.len(), 1, "one of the last two");
    story.request(1, "", "");
    story.answers.remove(0);
    story.ends_with("item-not-found");
}

#[test]
fn what_was_acknowledged_is_not_kept() {
    let mut story = Story::held();
    story.request(1, "", "");
    story.server("<m xmlns='m'/>");
    story.request(2, "ack='1001'", "");
    story.answers.clear();
    story.request(1, "", "");
    story.ends_with("item-not-found");
}

#[test]
fn a_lost_response_is_reported() {
    let mut story = Story::held();
    story.request(1, "", "");
    story.server("<m xmlns='m'/>");
    story.answers.clear();
    story.now += Duration::from_millis(852);
    // The client still has only the response to its first request.
    story.request(2, "ack='1000'", "");
    story.server("<n xmlns='m'/>");
    let answer = story.answer();
    assert!(answer.contains(" report='1001' time='852'"), "{answer}");
    story.request(1, "", "");
    assert!(story.answer().contains("<m "), "and can be asked for");
}

#[test]
fn the_highest_request_is_acknowledged() {
    let mut story = Story::held();
    story.request(1, "", "");
    story.request(2, "", "");
    assert!(story.answer().contains(" ack='1002'"));
    story.server("<m xmlns='m'/>");
    assert!(!story.answer().contains(" ack="), "its own is understood");
}

#[test]
fn polling_too_often_is_not_allowed() {
    let mut story = Story::new("wait='0' hold='0' ver='1.6'");
    story.after(10);
    story.request(1, "", "");
    assert_eq!(story.answered().len(), 1, "at once");
    story.after(5);
    story.request(2, "", "");
    assert_eq!(story.answered().len(), 1);
    story.request(3, "", "<a/>");
    assert_eq!(story.answered().len(), 1, "with something to say");
    story.request(4, "", "");
    story.ends_with("policy-violation");
}

#[test]
fn a_client_that_stays_away_is_forgotten() {
    let mut story = Story::held();
    story.request(1, "", "");
    story.server("<m xmlns='m'/>");
    story.answers.clear();
    story.after(59);
    assert!(!story.is_over);
    story.after(1);
    assert!(story.is_over && story.answers.is_empty(), "silently");
    assert_eq!(story.sent, ["1: abandon"]);
}

#[test]
fn a_pause_answers_all_and_waits_longer() {
    let mut story = Story::held();
    let first = story.request(1, "", "");
    let pause = story.request(2, "pause='120'", "");
    assert_eq!(story.answered(), [first, pause]);
    story.after(119);
    assert!(!story.is_over);
    story.request(3, "", "");
    story.after(59);
    assert!(story.answers.is_empty() && !story.is_over, "as before");
    story.server("<m xmlns='m'/>");
    story.answers.clear();
    story.after(60);
    assert!(story.is_over);

    let mut story = Story::held();
    story.request(1, "pause='301'", "");
    story.ends_with("policy-violation");
}

#[test]
fn a_client_ends_its_session() {
    let mut story = Story::held();
    let held = story.request(1, "", "");
    let last = story.request(2, "type='terminate'", "<presence type='unavailable'/>");
    assert_eq!(story.answered(), [held, last]);
    assert_eq!(
        story.sent,
        [
            "1: <presence xmlns='jabber:client' type='unavailable'/>",
            "1: close"
        ]
    );
    assert!(story.is_over);
}

#[test]
fn a_server_ends_the_stream() {
    let mut story = Story::held();
    story.request(1, "", "");
    let error = b"<stream:error xmlns:stream='s'><conflict/></stream:error>";
    story
        .session
        .handle_close(1, Some(Condition::RemoteStreamError), error, story.now);
    story.collect();
    let answer = story.answer();
    assert!(
        answer.contains("condition='remote-stream-error'") && answer.contains("<conflict/>"),
        "{answer}"
    );
    assert!(story.is_over);
}

#[test]
fn an_end_is_told_to_the_next_request() {
    let mut story = Story::held();
    story.server("<m xmlns='m'/>");
    story
        .session
        .handle_close(1, Some(Condition::RemoteConnectionFailed), b"", story.now);
    story.collect();
    assert!(!story.is_over);
    story.request(1, "", "");
    let answer = story.answer();
    assert!(
        answer.contains("condition='remote-connection-failed'") && answer.contains("<m "),
        "{answer}"
    );
    assert!(story.is_over);

    let mut story = Story::held();
    story
        .session
        .terminate(Condition::SystemShutdown, story.now);
    story.collect();
    story.after(60);
    assert!(story.is_over, "nobody asked");
}

#[test]
fn a_stream_is_restarted() {
    let mut story = Story::held();
    story.request(1, "xmpp:restart='true' to='example.com'", "");
    assert_eq!(story.sent, ["1: restart"]);
    assert!(story.answers.is_empty(), "waits for the features");
}

#[test]
fn keys_prove_who_asks() {
    // SHA-1 of "b", and of "a", which is what the story's client counts down from.
    let mut story = Story::new(
        "wait='60' hold='1' ver='1.6' newkey='e9d71f5ee7c92d6dc9e92ffdad17b8bd49418f98'",
    );
    story.request(1, "key='b'", "<a/>");
    assert_eq!(story.sent.len(), 1);
    story.request(1, "key='b'", "<a/>");
    assert!(!story.is_over, "a repetition shows the same key");
    story.request(2, "key='stolen'", "<b/>");
    assert_eq!(story.sent.len(), 2, "only the close");
    story.ends_with("item-not-found");
}

#[test]
fn a_session_has_several_streams() {
    let mut story = Story::held();
    story.request(1, "to='example.org'", "");
    assert_eq!(story.sent, ["2: open example.org"]);
    story.server_on(2, "<two xmlns='m'/>");
    assert!(story.answer().contains(" stream='2'"));
    story.sent.clear();
    story.request(2, "stream='2'", "<a/>");
    story.request(3, "", "<b/>");
    assert_eq!(
        story.sent,
        [
            "2: <a xmlns='jabber:client'/>",
            "1: <b xmlns='jabber:client'/>",
            "2: <b xmlns='jabber:client'/>",
        ]
    );
    story.answers.clear();
    story.server_on(1, "<one xmlns='m'/>");
    assert!(story.answer().contains(" stream='1'><one"));
    story.sent.clear();
    story.request(4, "stream='2' type='terminate'", "");
    assert_eq!(story.sent, ["2: close"]);
    assert!(story.answer().contains(" type='terminate' stream='2'"));
    assert!(!story.is_over, "the other goes on");
    story.request(5, "stream='2'", "<a/>");
    story.ends_with("item-not-found");
}

#[test]
fn an_old_client_is_told_by_status() {
    let mut story = Story::new("wait='60' hold='1'");
    story.request(3, "", "");
    assert_eq!(story.answers[0].1, 404);
}

proptest! {
    /// However requests are repeated, delayed and overtaken within the window, the server gets what
    /// the client wrote, once and in order, and every answer to one `rid` is the same.
    #[test]
    fn nothing_is_lost_or_repeated(
        steps in proptest::collection::vec((0..3_u8, 0..2_u64), 1..200),
    ) {
        let mut story = Story::new("wait='60' hold='1' ver='1.6'");
        let mut by_rid: BTreeMap<u64, String> = BTreeMap::new();
        let mut rid_of: BTreeMap<u64, u64> = BTreeMap::new();
        // Requests below were all taken.
        let mut next = 1;
        let mut came = BTreeSet::new();
        for (what, which) in steps {
            match what {
                0 | 1 => {
                    let n = next + which;
                    if rid_of.values().filter(|&&rid| rid == n).count() >= MAX_REPETITIONS - 1 {
                        continue;
                    }
                    let request = story.request(n, "", &format!("<m n='{n}'/>"));
                    rid_of.insert(request, n);
                    came.insert(n);
                    while came.contains(&next) {
                        next += 1;
                    }
                }
                _ => story.server("<s xmlns='m'/>"),
            }
            for (request, _, answer) in story.answers.drain(..) {
                let known = by_rid.entry(rid_of[&request]).or_insert_with(|| answer.clone());
                prop_assert_eq!(&*known, &answer);
            }
            prop_assert!(!story.is_over);
            prop_assert!(story.session.held.len() <= 2 && story.session.early.len() <= 2);
        }
        let want: Vec<String> = (1..next)
            .map(|n| format!("1: <m xmlns='jabber:client' n='{n}'/>"))
            .collect();
        prop_assert_eq!(&story.sent, &want);
        prop_assert!(story.now >= story.start);
    }
}
