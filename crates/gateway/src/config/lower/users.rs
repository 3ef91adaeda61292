//! `[user.NAME]`.

use super::{
    super::{file::File, problem::Problems},
    parsed,
};
use crate::policy::{Malformed, TokenHash, Users};

/// Lowers all users; those without a usable name or token are left out.
pub(super) fn users(file: &File, problems: &mut Problems) -> Users {
    let mut users = Users::default();
    for (name, table) in file.user.as_ref().map_or(&[][..], |named| &named.0) {
        let known = |c: u8| c.is_ascii_alphanumeric() || b"-_.@".contains(&c);
        let has_name = (1..=64).contains(&name.value.len()) && name.value.bytes().all(known);
        if !has_name {
            problems.malformed(
                name,
                &Malformed::new(
                    "is not a user's name",
                    "use 1 to 64 of a-z, A-Z, 0-9, -, _, . and @",
                ),
            );
        }
        let Some(at) = &table.token_sha256 else {
            let place = name.place.missing("token_sha256");
            problems.missing(
                &place,
                "is missing, so nobody can prove to be this user",
                "write what `printf %s TOKEN | sha256sum` prints",
            );
            continue;
        };
        let Some(hash) = parsed(at, str::parse::<TokenHash>, problems) else {
            continue;
        };
        if users.0.values().any(|other| *other == hash) {
            problems.report(
                &at.place,
                "is the token of another user, too",
                "give each user a token of their own",
            );
        }
        users.0.insert(name.value.as_str().into(), hash);
    }
    users
}
