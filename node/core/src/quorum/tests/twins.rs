//! A write that is sent to several copies, as copies of a shard take it: one wakes late, or was cut off.

use bytes::Bytes;

use super::super::shown::Resolve;
use super::world::World;
use crate::answer::Answer;
use crate::command::{Again, Command, Mutation, Outcome, ReadResult, RequestId, WriteOptions};
use crate::ids::{ReplicaId, Token};
use crate::time::Version;

const KEY: Bytes = Bytes::from_static(b"k");

/// Of a write that was sent just before.
fn again(attempt: u32) -> Option<Again> {
    Some(Again { first_sent_ms: 0, attempt })
}

/// A client of one key.
struct Client {
    world: World,
    tokens: u64,
}

impl Client {
    fn new(resolve: Resolve) -> Self {
        Self { world: World::new(resolve), tokens: 1_000_000 }
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    fn id(&self, issued: Version, sequence: u64) -> RequestId {
        RequestId { issued: issued.max(Version::at_ms(self.world.wall_ms(0))), client: 1, sequence }
    }

    /// A put, or with a context a delete.
    fn write(&mut self, by: usize, request: RequestId, again: Option<Again>, context: Option<Bytes>) -> Token {
        let value = Bytes::from(request.sequence.to_string());
        let mutation = match &context {
            Some(_) => Mutation::Delete { key: KEY },
            None => Mutation::Put { key: KEY, value, expires_ms: None },
        };
        let command = Command { request: Some(request), conditions: Vec::new(), mutations: vec![mutation] };
        let seen = context.into_iter().map(|context| (KEY, context)).collect();
        let token = self.token();
        self.world.send(by, token, command, &WriteOptions { copies: None, seen, again });
        token
    }

    fn version(&mut self, token: Token) -> Version {
        match self.world.answers.remove(&token) {
            Some(Answer::Write(Ok(Outcome::Applied(version)))) => version,
            other => panic!("it is not written: {other:?}"),
        }
    }

    /// The values that a read by this copy shows, and the context, while no message reaches another one.
    fn read(&mut self, by: usize, but: Option<usize>) -> (Vec<Bytes>, Bytes) {
        let token = self.token();
        self.world.get(by, token, KEY);
        // A copy that does not answer is asked first, maybe.
        for _ in 0..40 {
            self.world.deliver_but(but);
            self.world.tick(1);
        }
        self.world.deliver_but(but);
        match self.world.answers.remove(&token) {
            Some(Answer::Read(Ok(ReadResult::Values { records, context, basis: _ }))) => {
                (records.into_iter().map(|record| record.value).collect(), context)
            }
            other => panic!("it is not read: {other:?}"),
        }
    }
}

/// The first copy hangs with the write before it; a second one takes it, and then the client's next one. What is read once
/// the first has gone on.
fn read_after_a_late_first_attempt() -> Vec<Bytes> {
    let mut client = Client::new(Resolve::LastWriterWins);
    let first = client.id(Version::default(), 1);
    let again = client.write(1, first, again(1), None);
    client.world.deliver_but(Some(0));
    let seen = client.version(again);
    let second = client.id(seen, 2);
    let next = client.write(2, second, None, None);
    client.world.deliver_but(Some(0));
    assert!(client.version(next) > seen);
    // By then its clock is ahead of what the others' showed.
    client.world.jump(8);
    client.write(0, first, None, None);
    client.world.calm();
    client.read(0, None).0
}

#[test]
fn a_first_attempt_that_comes_late_does_not_come_above_what_was_written_since() {
    assert_eq!(read_after_a_late_first_attempt(), ["2"]);
}

/// The first copy has a write durably, and is cut off; it is sent to a second one, which does not have it.
fn first_attempt_cut_off(client: &mut Client) -> (RequestId, Version) {
    let request = client.id(Version::default(), 1);
    client.write(0, request, None, None);
    client.world.durable(0);
    client.world.lose_all(|message| message.from == ReplicaId(1));
    let again = client.write(1, request, again(1), None);
    client.world.deliver_but(Some(0));
    (request, client.version(again))
}

/// What is read in the end, if somebody reads the value once it is written, and deletes it, while the first copy is away.
fn read_after_a_delete_while_the_first_attempt_is_cut_off() -> Vec<Bytes> {
    let mut client = Client::new(Resolve::Siblings);
    let (_, seen) = first_attempt_cut_off(&mut client);
    let (values, context) = client.read(1, Some(0));
    assert_eq!(values, ["1"]);
    let delete = client.id(seen, 2);
    let deleted = client.write(2, delete, None, Some(context));
    client.world.deliver_but(Some(0));
    client.version(deleted);
    client.world.calm();
    client.read(0, None).0
}

#[test]
fn a_sibling_whose_first_copy_is_away_is_written_elsewhere_and_deleted_for_good() {
    assert_eq!(read_after_a_delete_while_the_first_attempt_is_cut_off(), Vec::<Bytes>::new());
    let mut client = Client::new(Resolve::Siblings);
    first_attempt_cut_off(&mut client);
    client.world.calm();
    for by in 0..3 {
        assert_eq!(client.read(by, None).0, ["1"], "it is there once");
    }
}

#[test]
fn a_later_attempt_finds_the_one_before_it_and_sends_that_on() {
    let mut client = Client::new(Resolve::Siblings);
    let request = client.id(Version::default(), 1);
    let first = client.write(0, request, None, None);
    client.world.deliver_but(Some(2));
    let found = client.write(1, request, again(1), None);
    client.world.deliver_all();
    let (first, found) = (client.version(first), client.version(found));
    assert_eq!((first, client.read(2, None).0), (found, vec![Bytes::from_static(b"1")]));
}

#[test]
fn an_attempt_that_comes_after_a_later_one_makes_nothing() {
    let mut client = Client::new(Resolve::Siblings);
    let request = client.id(Version::default(), 1);
    let later = client.write(1, request, again(1), None);
    client.world.deliver_all();
    let seen = client.version(later);
    let (_, context) = client.read(1, None);
    let delete = client.id(seen, 2);
    let deleted = client.write(2, delete, None, Some(context));
    client.world.deliver_all();
    client.version(deleted);
    client.write(0, request, None, None);
    client.world.deliver_all();
    assert_eq!(client.read(0, None).0, Vec::<Bytes>::new());
}

#[cfg(feature = "planted")]
#[test]
fn attempts_that_take_effect_twice_are_noticed() {
    use crate::planted::{Planted, plant};
    plant(Some(Planted::TwinStampedAnew));
    let late = read_after_a_late_first_attempt();
    plant(Some(Planted::EarlierAttemptKept));
    let back = read_after_a_delete_while_the_first_attempt_is_cut_off();
    plant(None);
    let first = || vec![Bytes::from_static(b"1")];
    assert_eq!((late, back), (first(), first()));
}
