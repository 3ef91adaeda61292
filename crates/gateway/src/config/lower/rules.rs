//! `[[allow]]` and `[[deny]]`.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    super::{
        document::List,
        file::{AllowFile, DenyFile, File},
        problem::{At, Place, Problems},
        suggest::nearest,
    },
    canonical, parsed, ranges,
};
use crate::policy::{
    AllowRule, DenyRule, DestinationPattern, HostPattern, Malformed, OriginPattern, StompRule,
    TargetPattern, every_client, parse_network, parse_range, quote,
};

/// Lowers all rules and checks them against the backends they name.
pub(super) fn rules(file: &File, problems: &mut Problems) -> (Vec<AllowRule>, Vec<DenyRule>) {
    let backends = file.backend.as_ref().map_or(&[][..], |named| &named.0);
    let allow_tables = file.allow.as_ref().map_or(&[][..], |tables| &tables.0);
    let deny_tables = file.deny.as_ref().map_or(&[][..], |tables| &tables.0);
    let mut reader = Reader {
        backends: backends
            .iter()
            .map(|(name, _)| name.value.as_str())
            .collect(),
        known_users: file
            .user
            .as_ref()
            .map_or(&[][..], |named| &named.0)
            .iter()
            .map(|(name, _)| name.value.as_str())
            .collect(),
        labels: BTreeMap::new(),
        problems,
    };
    let deny: Vec<DenyRule> = deny_tables.iter().map(|table| reader.deny(table)).collect();
    let denies_mail = deny.iter().any(denies_mail);
    let allow: Vec<AllowRule> = allow_tables
        .iter()
        .map(|table| reader.allow(table, denies_mail))
        .collect();

    for (name, _) in backends {
        let listed = |to: &TargetPattern| matches!(to, TargetPattern::Backend(to) if to.as_str() == name.value);
        if !allow.iter().any(|rule| rule.to.iter().any(listed)) {
            let remedy = format!(
                "add {} to the to of a rule, or remove the backend",
                quote(&name.value)
            );
            problems.warn(
                &name.place,
                "no allow rule names this backend, so nobody can reach it",
                remedy,
            );
        }
    }
    if allow_tables.is_empty() {
        let place = Place {
            line: 1,
            key: "allow".to_owned(),
        };
        problems.warn(
            &place,
            "there is no allow rule, so nobody can reach anything",
            "add an [[allow]]",
        );
    }
    (allow, deny)
}

struct Reader<'a> {
    /// The names of all backends, also of broken ones: one mistake is reported once.
    backends: Vec<&'a str>,
    /// The names of all users.
    known_users: Vec<&'a str>,
    /// Names given to rules so far, and their lines.
    labels: BTreeMap<Arc<str>, usize>,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn allow(
        &mut self,
        At {
            place,
            value: table,
        }: &At<AllowFile>,
        denies_mail: bool,
    ) -> AllowRule {
        let label = self.label(table.name.as_ref(), place);
        let origins = self.origins(table.origins.as_ref());
        let to = self.targets(table.to.as_ref(), |pattern| match pattern {
            TargetPattern::Address {
                host: HostPattern::Any,
                ..
            } => Err(Malformed::new(
                "would open every host",
                "name hosts, *.example.org, or ranges such as 10.0.0.0/8",
            )),
            TargetPattern::Address { .. } | TargetPattern::Backend(_) => Ok(pattern),
        });
        let required = [
            (
                "origins",
                table.origins.is_none(),
                "list the origins of your pages, such as [\"https://chat.example.org\"]",
            ),
            ("to", table.to.is_none(), "list backends or host:port"),
        ];
        for (key, is_missing, remedy) in required {
            if is_missing {
                let place = place.missing(key);
                self.problems
                    .missing(&place, "is missing, so the rule allows nothing", remedy);
            }
        }
        let networks = ranges(table.networks.as_ref(), parse_network, self.problems);
        let clients = match self.clients(table.clients.as_ref()) {
            None => every_client(),
            Some(clients) => clients,
        };
        self.warn_without_effect(table, &to);
        if !denies_mail {
            self.warn_of_mail(table.to.as_ref());
        }
        let expose_errors = table.expose_errors.as_ref().is_some_and(|at| at.value);
        let users = self.users(table.users.as_ref());
        let stomp = StompRule {
            subscribe: self.destinations(table.stomp_subscribe.as_ref()),
            send: self.destinations(table.stomp_send.as_ref()),
        };
        AllowRule {
            label,
            origins,
            to,
            networks,
            clients,
            expose_errors,
            users,
            stomp,
        }
    }

    fn deny(
        &mut self,
        At {
            place,
            value: table,
        }: &At<DenyFile>,
    ) -> DenyRule {
        if table.origins.is_none() && table.to.is_none() && table.clients.is_none() {
            self.problems.missing(
                place,
                "has none of origins, to and clients",
                "write at least one, or remove the rule",
            );
        }
        DenyRule {
            label: self.label(table.name.as_ref(), place),
            origins: self.origins(table.origins.as_ref()),
            to: self.targets(table.to.as_ref(), Ok),
            clients: self.clients(table.clients.as_ref()).unwrap_or_default(),
        }
    }

    fn label(&mut self, name: Option<&At<String>>, place: &Place) -> Arc<str> {
        let Some(name) = name else {
            return place.key.as_str().into();
        };
        let length = name.value.chars().count();
        if !(1..=LABEL_CHARS).contains(&length) || name.value.contains(char::is_control) {
            self.problems.malformed(
                name,
                &Malformed::new("is not a label", "write 1 to 64 printable characters"),
            );
        }
        let label: Arc<str> = name.value.as_str().into();
        if let Some(line) = self.labels.insert(Arc::clone(&label), name.place.line) {
            let problem = format!("is the name of the rule at line {line} too");
            self.problems.malformed(
                name,
                &Malformed::new(
                    problem,
                    "give each rule its own, so that the log tells them apart",
                ),
            );
        }
        label
    }

    fn origins(&mut self, list: Option<&List<String>>) -> Vec<OriginPattern> {
        let items = self.items(list);
        items
            .iter()
            .filter_map(|item| parsed(item, canonical::<OriginPattern>, self.problems))
            .collect()
    }

    fn targets(
        &mut self,
        list: Option<&List<String>>,
        check: impl Fn(TargetPattern) -> Result<TargetPattern, Malformed>,
    ) -> Vec<TargetPattern> {
        let mut targets = Vec::new();
        for item in self.items(list) {
            let parse = |text: &str| canonical::<TargetPattern>(text).and_then(&check);
            let Some(target) = parsed(item, parse, self.problems) else {
                continue;
            };
            if let TargetPattern::Backend(name) = &target
                && !self.backends.contains(&name.as_str())
            {
                self.report_unknown_backend(item);
            }
            targets.push(target);
        }
        targets
    }

    /// The ranges, or `None` for a list that is not there: an empty list is a mistake and holds nobody.
    fn clients(&mut self, list: Option<&List<String>>) -> Option<Vec<ipnet::IpNet>> {
        self.items(list);
        list.map(|list| ranges(Some(list), parse_range, self.problems))
    }

    /// The users of a rule, or `None` for everybody.
    fn users(&mut self, list: Option<&List<String>>) -> Option<Vec<Arc<str>>> {
        for item in self.items(list) {
            if self.known_users.contains(&item.value.as_str()) {
                continue;
            }
            let remedy = match nearest(&item.value, self.known_users.iter().copied()) {
                Some(meant) => format!("did you mean {}?", quote(meant)),
                None => format!("add [user.{}] with its token_sha256", item.value),
            };
            self.problems.unknown_name(item, "is not a user", remedy);
        }
        let names = |list: &List<String>| {
            let items = list.items.iter();
            items.map(|item| item.value.as_str().into()).collect()
        };
        list.map(names)
    }

    /// The destinations of a rule, or `None` for all. An empty list means none, on purpose.
    fn destinations(&mut self, list: Option<&List<String>>) -> Option<Vec<DestinationPattern>> {
        let list = list?;
        let read = |item| parsed(item, str::parse::<DestinationPattern>, self.problems);
        Some(list.items.iter().filter_map(read).collect())
    }

    /// The items of a list, which must not be empty if it is there.
    fn items<'l>(&mut self, list: Option<&'l List<String>>) -> &'l [At<String>] {
        let Some(list) = list else {
            return &[];
        };
        if list.is_empty {
            self.problems.report(
                &list.place,
                "is an empty list",
                "list something, or remove the key",
            );
        }
        &list.items
    }

    fn report_unknown_backend(&mut self, item: &At<String>) {
        let remedy = match nearest(&item.value, self.backends.iter().copied()) {
            Some(meant) => format!("did you mean {}?", quote(meant)),
            None => format!("add [backend.{}], or write host:port", item.value),
        };
        self.problems.unknown_name(item, "is not a backend", remedy);
    }

    fn warn_without_effect(&mut self, table: &AllowFile, to: &[TargetPattern]) {
        if to
            .iter()
            .any(|to| matches!(to, TargetPattern::Address { .. }))
        {
            return;
        }
        if let Some(at) = table.networks.as_ref() {
            self.problems.warn(
                &at.place,
                "has no effect, as the rule names backends only",
                "write networks in the [backend.NAME]",
            );
        }
        if let Some(at) = &table.expose_errors {
            self.problems.warn(
                &at.place,
                "has no effect, as the rule names backends only, whose errors are always told",
                "remove it",
            );
        }
    }

    /// Port 25 of hosts one did not name is what senders of spam look for.
    fn warn_of_mail(&mut self, to: Option<&List<String>>) {
        for item in to.map_or(&[][..], |list| &list.items) {
            if let Ok(TargetPattern::Address {
                host: HostPattern::Below(_) | HostPattern::Range(_),
                ports,
            }) = item.value.parse()
                && ports.contains(MAIL_PORT)
            {
                self.problems.warn(
                    &item.place,
                    format!(
                        "{} holds port 25, which sends mail in your name",
                        quote(&item.value)
                    ),
                    "leave the port out, or add a [[deny]] with to = [\"*:25\"]",
                );
            }
        }
    }
}

fn denies_mail(rule: &DenyRule) -> bool {
    let covers_mail = |to: &TargetPattern| matches!(to, TargetPattern::Address { host: HostPattern::Any, ports } if ports.contains(MAIL_PORT));
    rule.origins.is_empty() && rule.clients.is_empty() && rule.to.iter().any(covers_mail)
}

/// SMTP between servers (RFC 5321 §2.3.4).
const MAIL_PORT: u16 = 25;
/// A label is a field of every log line about its rule.
const LABEL_CHARS: usize = 64;
