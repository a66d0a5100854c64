//! How a connection is listened to: told of every piece that arrives, or looked at from time to time.
//!
//! Clients write message by message and acknowledgement by acknowledgement, and waking for each costs more than handling it.
//! Network cards that are flooded stop interrupting and are polled; so here: a connection whose pieces follow each other
//! closely rests, and is looked at after `read_gather`, where that has shown to bring more at once. A client that sends one
//! message at a time is left alone, for it may wait for what comes of it, and so is one that sends no more while it is not
//! looked at.

use std::time::Duration;

use tokio::time::Instant;

/// So many reads are looked at before a connection is let rest the first time, or after that did not pay.
const READS: u32 = 8;
/// As many do when it has paid the last time.
const READS_AGAIN: u32 = 2;
/// A look must bring so many times what a read brought.
const WORTH: usize = 2;
/// What looks bring is judged after so many.
const LOOKS: u32 = 4;
/// What a look may bring. Linux counts about a KiB for every small piece against a socket's buffer of 128 KiB: when more comes
/// its client would soon have to wait, and so much is enough at once.
const MAX_LOOK_BYTES: usize = 24 << 10;
const MAX_LOOK_MESSAGES: usize = 112;
/// After so many looks in a row that found nothing the connection is quiet.
const EMPTY_LOOKS: u32 = 2;
/// How many reads pass between two tries that do not pay: four times as many after each.
const SHORTEST_PAUSE: u32 = 64;
const LONGEST_PAUSE: u32 = 16 << 10;

/// What is known of one connection's habits.
pub(super) struct Pace {
    gather: Duration,
    /// Since when nothing was read.
    last: Instant,
    /// Something was written since.
    answered: bool,
    /// So many reads pass before the next try.
    pause: u32,
    next_pause: u32,
    needed: u32,
    /// Methods about messages handled since the last look: publishes and settlements for the most part.
    messages: usize,
    phase: Phase,
}

/// Counts of the present phase.
enum Phase {
    /// Of the reads, `close` came soon after another without being an answer.
    Watching { reads: u32, close: u32, bytes: usize },
    /// A read brought `alone` bytes before. `found` has come since the last look.
    Resting { alone: usize, looks: u32, bytes: usize, found: usize, empty: u32, has_paid: bool, next: Instant },
}

const WATCHING: Phase = Phase::Watching { reads: 0, close: 0, bytes: 0 };

impl Pace {
    /// Looks after `gather`; zero never lets rest.
    pub(super) fn new(gather: Duration, now: Instant) -> Self {
        let phase = WATCHING;
        Self {
            gather,
            last: now,
            answered: true,
            pause: 0,
            next_pause: SHORTEST_PAUSE,
            needed: READS,
            messages: 0,
            phase,
        }
    }

    /// When to look, if the connection should rest.
    pub(super) fn next_look(&self) -> Option<Instant> {
        match self.phase {
            Phase::Watching { .. } => None,
            Phase::Resting { next, .. } => Some(next),
        }
    }

    /// Something was written: what comes next may be the answer.
    pub(super) fn wrote(&mut self) {
        self.answered = true;
    }

    /// A message's method was handled.
    pub(super) fn handled(&mut self) {
        self.messages += 1;
    }

    /// Bytes came.
    pub(super) fn read(&mut self, count: usize, now: Instant) {
        let is_close = !std::mem::replace(&mut self.answered, false) && now - self.last < self.gather;
        self.last = now;
        match &mut self.phase {
            Phase::Resting { found, .. } => *found += count,
            Phase::Watching { .. } if self.pause > 0 => self.pause -= 1,
            Phase::Watching { reads, close, bytes } => {
                *reads += 1;
                *close += u32::from(is_close);
                *bytes += count;
                if *reads == self.needed {
                    let (alone, rests) = (*bytes / *reads as usize, *close * 2 >= *reads);
                    let is_flood = alone > MAX_LOOK_BYTES / WORTH;
                    // Who sends one message at a time may wait for what comes of it. The last read's are yet to be handled.
                    let is_stream = self.messages >= WORTH * (*reads as usize - 1);
                    let rests = rests && is_stream && !is_flood && !self.gather.is_zero();
                    self.messages = 0;
                    self.phase = if rests { self.resting(alone, now) } else { WATCHING };
                }
            }
        }
    }

    fn resting(&self, alone: usize, now: Instant) -> Phase {
        Phase::Resting { alone, looks: 0, bytes: 0, found: 0, empty: 0, has_paid: false, next: now + self.gather }
    }

    /// What there was has been read before it was time to look, as the thread was awake for something else.
    pub(super) fn looked_early(&mut self, now: Instant) {
        self.messages = 0;
        if let Phase::Resting { found, next, .. } = &mut self.phase {
            (*found, *next) = (0, now + self.gather);
        }
    }

    /// It was time to look, what there was has been read, and what came before it has been handled.
    pub(super) fn looked(&mut self, now: Instant) {
        let messages = std::mem::take(&mut self.messages);
        let Phase::Resting { alone, looks, bytes, found, empty, has_paid, next } = &mut self.phase else { return };
        *next = now + self.gather;
        if *found == 0 {
            *empty += 1;
            if *empty == EMPTY_LOOKS {
                let paid = if *looks == 0 { *has_paid } else { *bytes / *looks as usize >= WORTH * *alone };
                self.watch(paid);
            }
            return;
        }
        if *found > MAX_LOOK_BYTES || messages > MAX_LOOK_MESSAGES {
            self.watch(false);
            return;
        }
        *empty = 0;
        *looks += 1;
        *bytes += std::mem::take(found);
        if *looks == LOOKS {
            if *bytes / (LOOKS as usize) < WORTH * *alone {
                self.watch(false);
            } else {
                (*looks, *bytes, *has_paid) = (0, 0, true);
                self.next_pause = SHORTEST_PAUSE;
            }
        }
    }

    /// Back to being told of every piece.
    pub(super) fn watch(&mut self, paid: bool) {
        self.phase = WATCHING;
        self.needed = if paid { READS_AGAIN } else { READS };
        if !paid {
            self.pause = self.next_pause;
            self.next_pause = (self.next_pause * 4).min(LONGEST_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATHER: Duration = Duration::from_millis(1);
    const SOON: Duration = Duration::from_micros(100);

    fn handled(pace: &mut Pace, messages: usize) {
        (0..messages).for_each(|_| pace.handled());
    }

    /// Small pieces, until it rests; how many.
    fn stream(pace: &mut Pace, now: &mut Instant) -> u32 {
        let mut reads = 0;
        while pace.next_look().is_none() {
            *now += SOON;
            pace.read(200, *now);
            handled(pace, 2);
            reads += 1;
        }
        reads
    }

    #[test]
    fn a_stream_of_small_pieces_is_looked_at_from_time_to_time() {
        let mut now = Instant::now();
        let mut pace = Pace::new(GATHER, now);
        assert_eq!(stream(&mut pace, &mut now), READS);
        for _ in 0..100 {
            now += GATHER;
            assert_eq!(pace.next_look(), Some(now));
            pace.read(2_000, now);
            pace.looked(now);
        }
        for _ in 0..EMPTY_LOOKS {
            assert!(pace.next_look().is_some(), "one moment without anything is no sign yet");
            now += GATHER;
            pace.looked(now);
        }
        assert!(pace.next_look().is_none(), "it has become quiet");
        assert_eq!(stream(&mut pace, &mut now), READS_AGAIN);
    }

    #[test]
    fn who_may_wait_for_an_answer_is_told_of_at_once() {
        let mut now = Instant::now();
        let (mut alone, mut answered) = (Pace::new(GATHER, now), Pace::new(GATHER, now));
        for _ in 0..1_000 {
            now += SOON;
            alone.read(200, now);
            alone.handled();
            answered.read(200, now);
            handled(&mut answered, 4);
            answered.wrote();
            assert_eq!((alone.next_look(), answered.next_look()), (None, None));
        }
    }

    #[test]
    fn who_sends_no_more_meanwhile_is_seldom_tried() {
        let mut now = Instant::now();
        let mut pace = Pace::new(GATHER, now);
        let mut looks = 0;
        for _ in 0..100_000 {
            let look = pace.next_look();
            now = look.unwrap_or(now + SOON);
            pace.read(200, now);
            handled(&mut pace, 2);
            if look.is_some() {
                pace.looked(now);
                looks += 1;
            }
        }
        assert!((LOOKS..20 * LOOKS).contains(&looks), "{looks}");
    }

    #[test]
    fn what_is_read_while_the_thread_is_awake_needs_no_look() {
        let mut now = Instant::now();
        let mut pace = Pace::new(GATHER, now);
        stream(&mut pace, &mut now);
        for _ in 0..100 {
            now += GATHER / 2;
            pace.read(200, now);
            handled(&mut pace, 1);
            pace.looked_early(now);
            assert_eq!(pace.next_look(), Some(now + GATHER));
        }
    }

    #[test]
    fn a_flood_needs_no_gathering() {
        let mut now = Instant::now();
        for (bytes, messages) in [(MAX_LOOK_BYTES + 1, 1), (2_000, MAX_LOOK_MESSAGES + 1)] {
            let mut pace = Pace::new(GATHER, now);
            stream(&mut pace, &mut now);
            now += GATHER;
            pace.read(bytes, now);
            handled(&mut pace, messages);
            pace.looked(now);
            assert!(pace.next_look().is_none());
        }
        let mut pace = Pace::new(GATHER, now);
        for _ in 0..1_000 {
            now += SOON;
            pace.read(MAX_LOOK_BYTES, now);
            handled(&mut pace, 100);
            assert!(pace.next_look().is_none());
        }
    }

    #[test]
    fn a_quiet_connection_is_not_let_rest() {
        let mut now = Instant::now();
        let (mut quiet, mut never) = (Pace::new(GATHER, now), Pace::new(Duration::ZERO, now));
        for _ in 0..1_000 {
            now += 2 * GATHER;
            for pace in [&mut quiet, &mut never] {
                pace.read(200, now);
                handled(pace, 2);
            }
            never.read(200, now);
            assert_eq!((quiet.next_look(), never.next_look()), (None, None));
        }
    }
}
