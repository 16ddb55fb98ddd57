//! Broker addresses: each has to be on an interface of this machine, or to be put on one.

use std::net::IpAddr;

use crate::config::Config;
use crate::kernel::address::{AddressError, Place, Survey, carriers, survey};

use super::privileges::{NET_ADMIN, NET_RAW, may};
use super::{Check, State};

const NAME: &str = "addresses";

pub fn check(config: &Config) -> Check {
    let interface = config.address_interface.as_deref();
    match wait(survey(&config.addresses, interface)) {
        Ok(survey) => judge(&survey, interface, may),
        Err(error @ AddressError::NoInterface(_)) => {
            Check::missing(NAME, error.to_string(), "correct `address_interface`, or `ip link` shows them")
        }
        Err(error) => Check::degraded(NAME, error.to_string(), "ask with `ip address`"),
    }
}

/// The worst that was found, behind where each address is.
fn judge(survey: &Survey, interface: Option<&str>, may: impl Fn(u32) -> bool) -> Check {
    let seen: Vec<_> = survey
        .places
        .iter()
        .map(|(address, place)| format!("{address} {}", tell(place, interface)))
        .collect();
    let found = survey.places.iter().filter_map(|(address, place)| wrong(*address, place, interface));
    let to_be_put = survey.places.iter().any(|(_, place)| matches!(place, Place::Nowhere { .. }));
    let put = interface.filter(|_| to_be_put).and_then(|name| hindrance(name, survey.ready, may));
    let worst = found.chain(put).max_by_key(|(state, _)| *state as u8);
    let (state, remedy) = worst.map_or((State::Ok, None), |(state, remedy)| (state, Some(remedy)));
    Check { name: NAME, state, seen: seen.join("; "), remedy }
}

/// What keeps addresses from being put on `interface` as they should be.
fn hindrance(interface: &str, ready: bool, may: impl Fn(u32) -> bool) -> Option<(State, String)> {
    if !ready {
        return Some((State::Missing, format!("ip link set {interface} up, and see that it has a carrier")));
    }
    if !may(NET_ADMIN) {
        return Some((State::Missing, "run serve as root, or with CAP_NET_ADMIN".to_owned()));
    }
    (!may(NET_RAW)).then(|| {
        let remedy = "run serve with CAP_NET_RAW: without it nobody is asked first whether they hold an \
                      address, and it is not announced";
        (State::Degraded, remedy.to_owned())
    })
}

/// Where it is, behind the address.
fn tell(place: &Place, target: Option<&str>) -> String {
    match (place, target) {
        (Place::On { interface, ours: false }, _) => format!("on {interface}"),
        (Place::On { interface, ours: true }, _) => format!("on {interface}, put there by serve"),
        (Place::Duplicate { interface }, _) => format!("on {interface}, but another node holds it"),
        (Place::Nowhere { holder: None }, Some(target)) => format!("would be put on {target}"),
        (Place::Nowhere { holder: Some(holder) }, Some(target)) => {
            format!("would be put on {target}, where {holder} answered for it")
        }
        (Place::Nowhere { .. }, None) => "on no interface".to_owned(),
    }
}

/// What is wrong with where it is, and what to do.
fn wrong(address: IpAddr, place: &Place, target: Option<&str>) -> Option<(State, String)> {
    let theirs = "take it from who has it, or correct `addresses`";
    match place {
        Place::On { .. } | Place::Nowhere { holder: None } if target.is_some() => None,
        Place::On { .. } => None,
        Place::Duplicate { .. } => Some((State::Missing, theirs.to_owned())),
        Place::Nowhere { holder: Some(_) } => Some((State::Degraded, theirs.to_owned())),
        Place::Nowhere { holder: None } => {
            let remedy =
                "dev INTERFACE, or correct `addresses`, or let serve put it there: `address_interface`";
            Some((State::Missing, format!("ip address add {address} {remedy}")))
        }
    }
}

/// The interfaces that will carry the addresses.
pub fn interfaces(config: &Config) -> Result<Vec<String>, AddressError> {
    let mut names = Vec::new();
    for address in &config.addresses {
        let found = match (wait(carriers(&[*address])), &config.address_interface) {
            (Err(AddressError::Nowhere(_)), Some(interface)) => vec![interface.clone()],
            (found, _) => found?,
        };
        names.extend(found.into_iter().filter(|name| !names.contains(name)).collect::<Vec<_>>());
    }
    Ok(names)
}

fn wait<T>(asked: impl Future<Output = Result<T, AddressError>>) -> Result<T, AddressError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(AddressError::Netlink)?.block_on(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(place: Place, interface: Option<&str>, ready: bool, lacks: &[u32]) -> (State, String) {
        let places = vec![("10.0.0.9".parse().expect("an address"), place)];
        let check = judge(&Survey { places, ready }, interface, |bit| !lacks.contains(&bit));
        assert_eq!(check.remedy.is_none(), check.state == State::Ok);
        (check.state, check.seen)
    }

    #[test]
    fn an_address_that_is_there_is_well() {
        for (ours, seen) in [(false, "10.0.0.9 on eth0"), (true, "10.0.0.9 on eth0, put there by serve")] {
            let place = Place::On { interface: "eth0".into(), ours };
            // Nothing is to be put anywhere, so nothing of that matters.
            assert_eq!(judged(place, Some("eth1"), false, &[NET_ADMIN]), (State::Ok, seen.into()));
        }
    }

    #[test]
    fn an_address_that_is_nowhere_needs_an_interface_that_can_take_it() {
        let nowhere = || Place::Nowhere { holder: None };
        let would = || "10.0.0.9 would be put on eth0".to_owned();
        assert_eq!(judged(nowhere(), None, true, &[]), (State::Missing, "10.0.0.9 on no interface".into()));
        assert_eq!(judged(nowhere(), Some("eth0"), true, &[]), (State::Ok, would()));
        assert_eq!(judged(nowhere(), Some("eth0"), false, &[]), (State::Missing, would()));
        assert_eq!(judged(nowhere(), Some("eth0"), true, &[NET_RAW]), (State::Degraded, would()));
        assert_eq!(judged(nowhere(), Some("eth0"), true, &[NET_RAW, NET_ADMIN]), (State::Missing, would()));
    }

    #[test]
    fn an_address_of_somebody_else_is_told() {
        let holder = Some("02:00:00:00:00:02".to_owned());
        let seen = "10.0.0.9 would be put on eth0, where 02:00:00:00:00:02 answered for it";
        let found = judged(Place::Nowhere { holder }, Some("eth0"), true, &[]);
        assert_eq!(found, (State::Degraded, seen.into()));
        let found = judged(Place::Duplicate { interface: "eth0".into() }, None, true, &[]);
        assert_eq!(found, (State::Missing, "10.0.0.9 on eth0, but another node holds it".into()));
    }
}
