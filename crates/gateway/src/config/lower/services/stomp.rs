//! `[backend.NAME.stomp]`.

use super::{
    super::{
        super::{
            defaults,
            file::StompFile,
            problem::{At, Place, Problems},
        },
        settings,
    },
    Files,
};
use crate::policy::{Malformed, StompLogin, StompSettings};

/// Lowers the table.
pub(super) fn stomp(
    file: Option<(&StompFile, &Place)>,
    files: &Files<'_>,
    problems: &mut Problems,
) -> StompSettings {
    let empty = StompFile::default();
    let login = file.and_then(|(file, place)| login(file, place, files, problems));
    let file = file.map_or(&empty, |(file, _)| file);
    let host = file.host.as_ref().map(|at| header(at, problems));
    StompSettings {
        login,
        host,
        heart_beat: settings::duration(
            file.heart_beat.as_ref(),
            defaults::STOMP_HEART_BEAT,
            problems,
        ),
        connect_timeout: settings::duration(
            file.login_timeout.as_ref(),
            defaults::STOMP_LOGIN,
            problems,
        ),
        max_body_bytes: usize::try_from(settings::size(
            file.max_body.as_ref(),
            defaults::STOMP_MAX_BODY,
            problems,
        ))
        .unwrap_or(usize::MAX),
    }
}

fn login(
    file: &StompFile,
    place: &Place,
    files: &Files<'_>,
    problems: &mut Problems,
) -> Option<StompLogin> {
    let (login, passcode_file) = match (&file.login, &file.passcode_file) {
        (None, None) => return None,
        (Some(login), Some(file)) => (login, file),
        (Some(_), None) => {
            let place = place.missing("passcode_file");
            problems.missing(
                &place,
                "is missing, as the login needs a passcode",
                "name a file with the passcode in its first line",
            );
            return None;
        }
        (None, Some(_)) => {
            let place = place.missing("login");
            problems.missing(
                &place,
                "is missing, as the passcode is for a login",
                "write the login",
            );
            return None;
        }
    };
    let login = header(login, problems);
    let passcode = files.secret(passcode_file, problems)?;
    if passcode.reveal().is_empty() || passcode.reveal().contains(char::is_control) {
        let why = Malformed::new(
            "has no passcode in one line",
            "write the passcode, and nothing else",
        );
        problems.malformed(passcode_file, &why);
        return None;
    }
    Some(StompLogin { login, passcode })
}

/// What the headers of CONNECT can carry, which has no escapes.
fn header(at: &At<String>, problems: &mut Problems) -> String {
    if at.value.is_empty() || at.value.contains(char::is_control) {
        let why = Malformed::new(
            "cannot be said in CONNECT",
            "write at least one character, and no control characters",
        );
        problems.malformed(at, &why);
    }
    at.value.clone()
}
