//! `[backend.NAME.irc]`.

use perigee_irc::{TextEncoding, is_middle};

use super::{
    super::{
        super::{
            defaults,
            file::IrcFile,
            problem::{At, Problems},
        },
        settings,
    },
    Files, text,
};
use crate::policy::{IrcSettings, Malformed};

/// Lowers the table.
pub(super) fn irc(
    file: Option<&IrcFile>,
    files: &Files<'_>,
    problems: &mut Problems,
) -> IrcSettings {
    let empty = IrcFile::default();
    let file = file.unwrap_or(&empty);
    let flag = |at: &Option<At<bool>>, default| at.as_ref().map_or(default, |at| at.value);
    let gateway_name = text(
        file.gateway_name.as_ref(),
        defaults::IRC_GATEWAY_NAME,
        |text| {
            let known = |c: u8| c.is_ascii_alphanumeric() || b"-._".contains(&c);
            if text.is_empty() || text.len() > IRC_NAME_BYTES || !text.bytes().all(known) {
                return Err(Malformed::new(
                    "is not a name that IRC can carry",
                    "use 1 to 63 of a-z, A-Z, 0-9, -, . and _",
                ));
            }
            Ok(())
        },
        problems,
    );
    let webirc_password = file.webirc_password_file.as_ref().and_then(|at| {
        let secret = files.secret(at, problems)?;
        let word = secret.reveal().as_bytes();
        if !is_middle(word) || word.len() > 256 || word.iter().any(u8::is_ascii_control) {
            let why = Malformed::new(
                "has no password that WEBIRC can carry in its first line",
                "write one word that does not begin with a colon",
            );
            problems.malformed(at, &why);
            return None;
        }
        Some(secret)
    });
    let quit_message = text(
        file.quit_message.as_ref(),
        defaults::IRC_QUIT_MESSAGE,
        |text| {
            if text.len() > IRC_QUIT_BYTES || text.chars().any(char::is_control) {
                return Err(Malformed::new(
                    "cannot be said in one line",
                    "write at most 300 bytes, without control characters",
                ));
            }
            Ok(())
        },
        problems,
    );
    let fallback_encoding = text(
        file.fallback_encoding.as_ref(),
        defaults::IRC_FALLBACK_ENCODING,
        |text| match TextEncoding::with_fallback(text) {
            Some(_) => Ok(()),
            None => Err(Malformed::new(
                "is not an encoding for what is not UTF-8",
                "write its name, such as \"windows-1252\", \"iso-8859-15\", \"koi8-r\" or \"shift_jis\"",
            )),
        },
        problems,
    );
    IrcSettings {
        gateway_name,
        webirc_password,
        resolve_hosts: flag(&file.resolve_hosts, true),
        fallback_encoding,
        write_fallback: flag(&file.write_fallback, false),
        max_line_bytes: usize::try_from(settings::size(
            file.max_line.as_ref(),
            defaults::IRC_MAX_LINE,
            problems,
        ))
        .unwrap_or(usize::MAX),
        flood_burst: u32::try_from(settings::count(
            file.flood_burst.as_ref(),
            defaults::IRC_FLOOD_BURST,
            problems,
        ))
        .unwrap_or(u32::MAX),
        flood_interval: settings::duration(
            file.flood_interval.as_ref(),
            defaults::IRC_FLOOD_INTERVAL,
            problems,
        ),
        registration_timeout: settings::duration(
            file.registration_timeout.as_ref(),
            defaults::IRC_REGISTRATION,
            problems,
        ),
        quit_message,
    }
}

/// As a host in WEBIRC.
const IRC_NAME_BYTES: usize = 63;
/// What is left of a line of 512 bytes behind `:nick!user@host QUIT :` when all are long.
const IRC_QUIT_BYTES: usize = 300;
