use proptest::prelude::*;

use super::*;
use crate::interface::{VERSION_1, VERSION_2};

const A: &str = "127.0.0.11";

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn registration(client: &str) -> NewRegistration {
    NewRegistration {
        net_name: "fs1".into(),
        share_name: Some("Data".into()),
        ip_address: A.into(),
        client_name: client.into(),
        version: VERSION_2,
        keep_alive: Some(at(60)),
        ip_notification: true,
    }
}

fn table_with(registrations: &[NewRegistration]) -> Table {
    let mut table = Table::new();
    for (number, registration) in (1..).zip(registrations) {
        table.register(at(0), id(number), registration.clone()).unwrap();
    }
    table
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn online(text: &str) -> Vec<Address> {
    vec![Address { ip: ip(text), is_online: true }]
}

fn changes(states: &[ResourceState]) -> Notification {
    Notification::ResourceChange(states.iter().map(|state| change_message(*state, A)).collect())
}

fn waits(begun: Begun) -> WaiterId {
    let Begun::Waits(waiter) = begun else { panic!("expected to wait, got {begun:?}") };
    waiter
}

#[test]
fn an_event_answers_the_waiting_call_at_once() {
    let mut table = table_with(&[registration("C1"), NewRegistration { ip_address: "127.0.0.12".into(), ..registration("C2") }]);
    let first = waits(table.async_notify(at(1), id(1)));
    waits(table.async_notify(at(1), id(2)));
    let completions = table.resource_change(at(2), ip(A), false).completions;
    let expected = Completion { waiter: first, registration: id(1), result: Ok(changes(&[ResourceState::Unavailable])) };
    assert_eq!(completions, [expected]);
    assert_eq!(table.waiters(), 1);
}

#[test]
fn events_between_two_calls_are_kept_and_ordered() {
    let mut table = table_with(&[registration("C1")]);
    assert!(table.ip_change(at(1), Only::All, &online("127.0.0.13")).completions.is_empty());
    assert!(table.client_move(at(1), Only::Client("c1"), &online("127.0.0.12")).completions.is_empty());
    assert!(table.client_move(at(1), Only::Client("c1"), &online("127.0.0.13")).completions.is_empty());
    assert!(table.share_move(at(1), Only::All, "DATA", &online("127.0.0.12")).completions.is_empty());
    assert!(table.resource_change(at(1), ip(A), false).completions.is_empty());
    assert!(table.resource_change(at(1), ip(A), false).completions.is_empty(), "the same again is nothing new");
    assert!(table.resource_change(at(1), ip(A), true).completions.is_empty());
    assert_eq!(table.view()[0].queued, 5);
    let expected = [
        changes(&[ResourceState::Unavailable, ResourceState::Available]),
        Notification::ClientMove(online("127.0.0.13")),
        Notification::ShareMove(online("127.0.0.12")),
        Notification::IpChange(online("127.0.0.13")),
    ];
    for notification in expected {
        assert_eq!(table.async_notify(at(2), id(1)), Begun::Ready(Ok(notification)));
    }
    waits(table.async_notify(at(2), id(1)));
    assert_eq!(table.view()[0].sent, 4);
}

#[test]
fn several_calls_on_one_handle_are_served_in_order() {
    let mut table = table_with(&[registration("C1")]);
    let first = waits(table.async_notify(at(1), id(1)));
    let second = waits(table.async_notify(at(1), id(1)));
    assert_eq!(table.resource_change(at(2), ip(A), false).completions[0].waiter, first);
    assert_eq!(table.resource_change(at(2), ip(A), true).completions[0].waiter, second);
    for _ in 0..WAITERS_MAX {
        waits(table.async_notify(at(3), id(1)));
    }
    assert_eq!(table.async_notify(at(3), id(1)), Begun::Ready(Err(Status::NO_SYSTEM_RESOURCES)));
    assert_eq!(table.unregister(id(1)).unwrap().len(), WAITERS_MAX);
    assert_eq!(table.waiters(), 0);
}

#[test]
fn who_did_not_ask_is_not_told() {
    let first_version =
        NewRegistration { version: VERSION_1, share_name: None, keep_alive: None, ip_notification: false, ..registration("C1") };
    let mut table = table_with(&[first_version]);
    let waiter = waits(table.async_notify(at(0), id(1)));
    assert!(table.ip_change(at(1), Only::All, &online(A)).completions.is_empty());
    assert!(table.share_move(at(1), Only::All, "Data", &online(A)).completions.is_empty());
    assert!(table.client_move(at(1), Only::Client("c2"), &online(A)).completions.is_empty());
    assert!(table.resource_change(at(1), ip("127.0.0.13"), false).completions.is_empty());
    assert!(table.resource_change(at(1), ip(A), true).completions.is_empty(), "still available is no news");
    assert_eq!(table.next_deadline(), None, "version 1 waits without end");
    assert_eq!(table.client_move(at(1), Only::Client("c1"), &online(A)).completions[0].waiter, waiter);
}

#[test]
fn keep_alive_ends_the_call_and_keeps_the_registration() {
    let mut table = table_with(&[registration("C1")]);
    let waiter = waits(table.async_notify(at(10), id(1)));
    assert_eq!(table.next_deadline(), Some(at(70)));
    let mut removed = Vec::new();
    assert!(table.tick(at(69), &mut removed).is_empty());
    let completions = table.tick(at(70), &mut removed);
    assert_eq!(completions, [Completion { waiter, registration: id(1), result: Err(Status::TIMEOUT) }]);
    assert!(removed.is_empty());
    // Then nobody asks: gone after 30 s.
    assert_eq!(table.next_deadline(), Some(at(100)));
    assert!(table.tick(at(100), &mut removed).is_empty());
    assert_eq!(removed, [id(1)]);
    assert_eq!(table.async_notify(at(100), id(1)), Begun::Ready(Err(Status::NOT_FOUND)));
    assert_eq!(table.next_deadline(), None);
}

#[test]
fn a_client_that_does_not_move_is_forced() {
    let mut table = table_with(&[registration("C1")]);
    waits(table.async_notify(at(0), id(1)));
    assert_eq!(table.client_move(at(1), Only::Client("c1"), &online(A)).completions.len(), 1);
    let waiter = waits(table.async_notify(at(2), id(1)));
    let mut removed = Vec::new();
    let completions = table.tick(at(6), &mut removed);
    assert_eq!(completions, [Completion { waiter, registration: id(1), result: Err(Status::NOT_FOUND) }]);
    assert_eq!(removed, [id(1)]);
    // A resource change forces nobody: the client may wait for the address to return.
    let mut table = table_with(&[registration("C1")]);
    waits(table.async_notify(at(0), id(1)));
    table.resource_change(at(1), ip(A), false);
    waits(table.async_notify(at(2), id(1)));
    assert_eq!(table.next_deadline(), Some(at(62)));
}

#[test]
fn what_could_not_be_sent_is_told_again() {
    let mut table = table_with(&[registration("C1")]);
    waits(table.async_notify(at(0), id(1)));
    let lost = table.resource_change(at(1), ip(A), false).completions.remove(0).result.unwrap();
    table.resource_change(at(1), ip(A), true);
    assert!(table.give_back(at(2), id(1), lost).is_empty());
    let both = changes(&[ResourceState::Unavailable, ResourceState::Available]);
    assert_eq!(table.async_notify(at(2), id(1)), Begun::Ready(Ok(both)));
    assert!(table.give_back(at(2), id(9), changes(&[])).is_empty(), "the registration is gone");
}

#[test]
fn queues_have_their_limits() {
    let mut table = table_with(&[registration("C1")]);
    for round in 0..RESOURCE_CHANGES_MAX {
        table.resource_change(at(1), ip(A), round % 2 == 1);
    }
    table.resource_change(at(1), ip(A), false);
    let many: Vec<Address> = (0..=ADDRESSES_MAX).map(|n| Address { ip: IpAddr::V4((n as u32).into()), is_online: true }).collect();
    table.ip_change(at(1), Only::All, &many);
    assert_eq!(table.view()[0].queued, RESOURCE_CHANGES_MAX + 1);
    let Begun::Ready(Ok(Notification::ResourceChange(list))) = table.async_notify(at(1), id(1)) else { panic!("no changes") };
    assert_eq!(list.last().unwrap().state, ResourceState::Unavailable);
    assert_eq!(table.async_notify(at(1), id(1)), Begun::Ready(Ok(Notification::IpChange(many[..ADDRESSES_MAX].to_vec()))));
    let long = NewRegistration { client_name: "x".repeat(NAME_UNITS_MAX + 1), ..registration("") };
    assert_eq!(table.register(at(1), id(7), long), Err(Status::INVALID_PARAMETER));
}

#[test]
fn a_full_table_takes_nobody_and_serves_those_it_has() {
    let mut table = Table::new();
    for number in 0..REGISTRATIONS_MAX {
        table.register(at(0), id(number as u128), registration("C1")).unwrap();
    }
    assert_eq!(table.register(at(0), id(u128::MAX), registration("C1")), Err(Status::NO_SYSTEM_RESOURCES));
    assert_eq!(table.resource_change(at(1), ip(A), false).registrations, REGISTRATIONS_MAX);
    let numbers = |views: Vec<RegistrationView>| views.iter().map(|view| view.id).collect::<Vec<_>>();
    assert_eq!(numbers(table.view_after(None, 2)), [id(0), id(1)]);
    assert_eq!(numbers(table.view_after(Some(id(1)), 2)), [id(2), id(3)]);
    assert_eq!(numbers(table.view_after(Some(id(REGISTRATIONS_MAX as u128 - 2)), 9)), [id(REGISTRATIONS_MAX as u128 - 1)]);
    assert!(table.unregister(id(7)).unwrap().is_empty());
    assert_eq!(table.register(at(1), id(u128::MAX), registration("C1")), Ok(()));
    assert_eq!(table.len(), REGISTRATIONS_MAX);
}

#[test]
fn the_clients_of_an_address_are_asked_to_leave_once() {
    let elsewhere = NewRegistration { ip_address: "127.0.0.12".into(), ..registration("C2") };
    let mut table = table_with(&[registration("C1"), elsewhere]);
    let waiter = waits(table.async_notify(at(0), id(1)));
    let told = table.leave(at(1), ip(A), &online("127.0.0.13"));
    assert_eq!((told.registrations, told.completions[0].waiter), (1, waiter));
    assert_eq!(table.leave(at(2), ip(A), &online("127.0.0.13")), Told::default());
    assert!(table.view()[0].is_moving && !table.view()[1].is_moving);
    table.stay(ip(A));
    assert_eq!(table.leave(at(3), ip(A), &online("127.0.0.13")).registrations, 1);
}

#[test]
fn of_an_address_that_changes_twice_the_newer_state_is_told() {
    let mut table = table_with(&[registration("C1")]);
    let address = |text: &str, is_online| Address { ip: ip(text), is_online };
    table.ip_change(at(1), Only::All, &[address("10.0.0.1", true), address("10.0.0.2", true)]);
    table.ip_change(at(2), Only::All, &[address("10.0.0.1", false), address("10.0.0.3", true)]);
    let merged = vec![address("10.0.0.1", false), address("10.0.0.2", true), address("10.0.0.3", true)];
    assert_eq!(table.async_notify(at(3), id(1)), Begun::Ready(Ok(Notification::IpChange(merged.clone()))));
    // What could not be sent is older than what came since.
    table.ip_change(at(4), Only::All, &[address("10.0.0.2", false)]);
    table.give_back(at(4), id(1), Notification::IpChange(merged));
    let merged = vec![address("10.0.0.1", false), address("10.0.0.2", false), address("10.0.0.3", true)];
    assert_eq!(table.async_notify(at(5), id(1)), Begun::Ready(Ok(Notification::IpChange(merged))));
}

#[test]
fn cancelled_calls_are_forgotten() {
    let mut table = table_with(&[registration("C1")]);
    let waiter = waits(table.async_notify(at(0), id(1)));
    table.cancel(at(3), waiter);
    table.cancel(at(3), waiter);
    assert!(table.resource_change(at(4), ip(A), false).completions.is_empty());
    assert_eq!(table.async_notify(at(5), id(1)), Begun::Ready(Ok(changes(&[ResourceState::Unavailable]))));
}

proptest! {
    /// Whatever happens in whatever order, a client that keeps asking is told every state in its order, none twice.
    #[test]
    fn no_state_is_lost_or_doubled(steps in proptest::collection::vec((0u8..5, any::<bool>()), 0..60)) {
        let mut table = table_with(&[registration("C1")]);
        let mut expected = Vec::new();
        let mut told = Vec::new();
        let mut last = true;
        let mut waiting: Option<WaiterId> = None;
        let mut kept = 0;
        let take = |notification: Notification, told: &mut Vec<ResourceState>| {
            if let Notification::ResourceChange(list) = notification { told.extend(list.iter().map(|change| change.state)) }
        };
        for (now, (step, flag)) in (1..).zip(steps) {
            match step {
                0 | 1 => {
                    if flag != last {
                        if kept >= RESOURCE_CHANGES_MAX { continue; }
                        expected.push(if flag { ResourceState::Available } else { ResourceState::Unavailable });
                        last = flag;
                        kept += 1;
                    }
                    for completion in table.resource_change(Duration::from_millis(now), ip(A), flag).completions {
                        prop_assert_eq!(Some(completion.waiter), waiting.take());
                        take(completion.result.unwrap(), &mut told);
                        kept = 0;
                    }
                }
                2 | 3 if waiting.is_none() => match table.async_notify(Duration::from_millis(now), id(1)) {
                    Begun::Ready(result) => { take(result.unwrap(), &mut told); kept = 0; }
                    Begun::Waits(waiter) => waiting = Some(waiter),
                },
                _ => if let Some(waiter) = waiting.take() { table.cancel(Duration::from_millis(now), waiter) },
            }
        }
        while let Begun::Ready(Ok(notification)) = table.async_notify(at(1), id(1)) { take(notification, &mut told) }
        prop_assert_eq!(told, expected);
    }
}
