//! What this node wants sent and answered, in order, until its shell takes it.

use crate::answer::{AdminRefusal, AdminReply, Answer};
use crate::ids::{NodeId, Token};
use crate::level::FormatLevel;
use crate::message::PeerMessage;
use crate::replica::{AnswerRoom, Collected, TimeLimit};

/// Owner of the messages and answers that have not been taken yet.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    send: Vec<(NodeId, PeerMessage)>,
    answers: Vec<(Token, Answer)>,
    /// Bytes of records that reads may still be answered with.
    answer_room: AnswerRoom,
}

impl Outbox {
    /// Adds a message to another node.
    pub(super) fn send(&mut self, to: NodeId, message: PeerMessage) {
        self.send.push((to, message));
    }

    /// Messages to other nodes, in this order.
    pub(super) fn send_all(&mut self, messages: impl IntoIterator<Item = (NodeId, PeerMessage)>) {
        self.send.extend(messages);
    }

    /// A message to another node, unless just that waits already.
    pub(super) fn send_once(&mut self, to: NodeId, message: PeerMessage) {
        let message = (to, message);
        if !self.send.contains(&message) {
            self.send.push(message);
        }
    }

    /// Adds the answer to the request that came with the token.
    pub(super) fn answer(&mut self, token: Token, answer: Answer) {
        self.answers.push((token, answer));
    }

    /// An answer to the operator, a node that joins, or whoever asks for the status.
    pub(super) fn answer_admin(&mut self, token: Token, answer: Result<AdminReply, AdminRefusal>) {
        self.answer(token, Answer::Admin(answer));
    }

    /// For a replica that answers at once.
    pub(super) fn answers(&mut self) -> &mut Vec<(Token, Answer)> {
        &mut self.answers
    }

    /// So many bytes of records there is room for in answers, until this is said again.
    pub(super) fn has_room_for(&mut self, bytes: usize) {
        self.answer_room = AnswerRoom(bytes);
    }

    /// For a replica that may answer reads, before it wants anything done. [`Self::take_with_room`] takes it up again.
    pub(super) fn collected(&self, time_limit: TimeLimit, level: FormatLevel) -> Collected {
        Collected { answer_room: self.answer_room, time_limit, level, ..Collected::default() }
    }

    /// What a replica wants sent and answered.
    pub(super) fn take(&mut self, out: &mut Collected) {
        take(&mut self.send, &mut out.send);
        take(&mut self.answers, &mut out.answers);
    }

    /// The same of a replica that may have answered reads: what room is left counts from now on.
    pub(super) fn take_with_room(&mut self, out: &mut Collected) {
        self.answer_room = out.answer_room;
        self.take(out);
    }

    /// The messages so far, for the shell.
    pub(super) fn take_send(&mut self) -> Vec<(NodeId, PeerMessage)> {
        std::mem::take(&mut self.send)
    }

    /// The answers so far, for the shell.
    pub(super) fn take_answers(&mut self) -> Vec<(Token, Answer)> {
        std::mem::take(&mut self.answers)
    }
}

/// Most of the time nothing was wanted before, and so nothing has to be moved.
fn take<T>(wanted: &mut Vec<T>, more: &mut Vec<T>) {
    if wanted.is_empty() { std::mem::swap(wanted, more) } else { wanted.append(more) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Epoch;

    const TO: NodeId = NodeId(2);

    fn refused(token: u64) -> (Token, Answer) {
        (Token(token), Answer::Admin(Err(AdminRefusal::NotLeader { leader: None })))
    }

    #[test]
    fn what_a_replica_wants_comes_after_what_was_wanted_before() {
        let mut outbox = Outbox::default();
        outbox.send(TO, PeerMessage::ReportWant);
        outbox.answer_admin(Token(1), Err(AdminRefusal::NotLeader { leader: None }));
        let send = vec![(TO, PeerMessage::MapWant { have: Epoch(3) })];
        outbox.take(&mut Collected { send, answers: vec![refused(2)], ..Collected::default() });
        let wanted = [(TO, PeerMessage::ReportWant), (TO, PeerMessage::MapWant { have: Epoch(3) })];
        assert_eq!(outbox.take_send(), wanted);
        assert_eq!(outbox.take_answers(), [refused(1), refused(2)]);
        assert_eq!((outbox.take_send().len(), outbox.take_answers().len()), (0, 0));
    }

    #[test]
    fn a_message_that_waits_is_not_sent_twice() {
        let mut outbox = Outbox::default();
        for epoch in [3, 3, 4] {
            outbox.send_once(TO, PeerMessage::MapWant { have: Epoch(epoch) });
        }
        assert_eq!(outbox.take_send().len(), 2);
    }

    #[test]
    fn only_a_replica_that_answers_reads_takes_of_the_room() {
        let mut outbox = Outbox::default();
        let room = |outbox: &Outbox| outbox.collected(TimeLimit::default(), FormatLevel::FIRST).answer_room.0;
        outbox.has_room_for(100);
        outbox.take(&mut Collected::default());
        assert_eq!(room(&outbox), 100);
        outbox.take_with_room(&mut Collected { answer_room: AnswerRoom(40), ..Collected::default() });
        assert_eq!(room(&outbox), 40);
    }
}
