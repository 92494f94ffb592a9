//! Looks for a linearization of one key's operations, until it has one or knows that there is none.
//!
//! The algorithm is that of Wing and Gong (1993) as improved by Lowe ("Testing for linearizability",
//! Concurrency and Computation 29(4), 2017): take any operation that may come first, see whether the model
//! allows it, go on with the rest, and take it back when nothing follows. What was reached before, the same
//! operations placed and the same state, is not looked at again. The stack is on the heap: a history may be
//! long.
//!
//! An *answered* operation has a return, and all of them have to be placed. An *open* one may be placed at
//! any time after its call, or not at all. Four rules keep the search small. None of them loses a
//! linearization:
//!
//! - An answered operation that only looks (a read, as a rule) is placed as soon as it is allowed: in any
//!   linearization of the rest it could be moved to the front.
//! - Of open operations that ask for the same, the one called first goes first.
//! - An open operation that changes nothing is not placed.
//! - Nothing follows an open operation that would lead to the same state without it, or to one that allows
//!   more: that is found without it too.

use super::bits::Bits;
use super::budget::{Budget, Exhausted, Share};
use super::models::Model;
use std::collections::{HashMap, HashSet};

/// An operation as the search sees it.
#[derive(Debug, Clone)]
pub(super) struct Task<S> {
    pub call_ns: u64,
    /// `None` for an open one.
    pub return_ns: Option<u64>,
    pub step: S,
}

/// What a search found.
pub(super) enum Found {
    /// Positions of tasks, in the order of a linearization.
    Order(Vec<usize>),
    /// There is no linearization. All that returned before this moment could be placed, and no more.
    Nothing { furthest_ns: u64 },
}

pub(super) fn search<M: Model>(
    model: &M,
    tasks: &[Task<M::Step>],
    budget: &Budget,
) -> Result<Found, Exhausted> {
    Search::new(model, tasks, budget).run(budget)
}

/// Attempts between two looks at the clock.
const ATTEMPTS_PER_LOOK: u32 = 256;

struct Search<'a, M: Model> {
    model: &'a M,
    tasks: &'a [Task<M::Step>],
    /// Tasks with a return, by call.
    answered: Vec<usize>,
    /// Tasks without, by call.
    open: Vec<usize>,
    /// For each open one, the one before it that asks for the same.
    twin: Vec<Option<usize>>,
    /// Calls and returns of what is answered and not placed.
    events: Events,
    answered_placed: Bits,
    open_placed: Bits,
    /// What was reached before: what was placed, and the state.
    seen: HashSet<(Box<[u64]>, M::State)>,
    memory: Share<'a>,
    /// The latest return that something had to come before.
    furthest_ns: u64,
}

/// Where the search stands.
struct Node<S> {
    state: S,
    /// When an open operation led here, the state before it.
    before: Option<S>,
}

/// A position in `answered` or in `open`.
#[derive(Clone, Copy)]
enum Choice {
    Answered(usize),
    Open(usize),
}

/// A step that may have to be taken back.
struct Frame<S> {
    node: Node<S>,
    choice: Choice,
    /// Nothing else has to be tried in its place.
    forced: bool,
}

/// What to try next.
#[derive(Clone, Copy)]
enum Cursor {
    /// From this event on.
    Answered(usize),
    /// From this open one on, as long as they were called by then.
    Open(usize, u64),
}

/// How an attempt to place something ended.
enum Attempt<S> {
    Placed {
        state: S,
        forced: bool,
    },
    NotNow,
    /// Nor is anything else worth an attempt.
    DeadEnd,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, tasks: &'a [Task<M::Step>], budget: &'a Budget) -> Self {
        let by_call = |is_open: bool| {
            let mut found: Vec<usize> =
                (0..tasks.len()).filter(|task| tasks[*task].return_ns.is_none() == is_open).collect();
            found.sort_by_key(|task| tasks[*task].call_ns);
            found
        };
        let (answered, open) = (by_call(false), by_call(true));
        let mut last_with: HashMap<&M::Step, usize> = HashMap::new();
        let twin =
            open.iter().enumerate().map(|(at, task)| last_with.insert(&tasks[*task].step, at)).collect();
        let times =
            answered.iter().map(|task| (tasks[*task].call_ns, tasks[*task].return_ns.unwrap_or(u64::MAX)));
        Self {
            model,
            tasks,
            events: Events::new(times),
            answered_placed: Bits::new(answered.len()),
            open_placed: Bits::new(open.len()),
            seen: HashSet::new(),
            memory: budget.share(),
            furthest_ns: 0,
            answered,
            open,
            twin,
        }
    }

    fn run(mut self, budget: &Budget) -> Result<Found, Exhausted> {
        let mut node = Node { state: self.model.start(), before: None };
        let mut stack: Vec<Frame<M::State>> = Vec::new();
        let mut cursor = self.first();
        let mut attempts = 0_u32;
        while !self.events.are_over() {
            let Some(choice) = self.candidate(&mut cursor) else {
                match self.take_back(&mut stack) {
                    None => return Ok(Found::Nothing { furthest_ns: self.furthest_ns }),
                    Some(frame) => {
                        cursor = self.after(frame.choice);
                        node = frame.node;
                        continue;
                    }
                }
            };
            attempts = attempts.wrapping_add(1);
            if attempts % ATTEMPTS_PER_LOOK == 1 {
                budget.check_time()?;
            }
            match self.attempt(&node, choice)? {
                Attempt::Placed { state, forced } => {
                    let before = matches!(choice, Choice::Open(_)).then(|| node.state.clone());
                    let left = std::mem::replace(&mut node, Node { state, before });
                    stack.push(Frame { node: left, choice, forced });
                    cursor = self.first();
                }
                Attempt::NotNow => cursor = self.after(choice),
                Attempt::DeadEnd => cursor = Cursor::Open(self.open.len(), 0),
            }
        }
        Ok(Found::Order(stack.iter().map(|frame| self.task(frame.choice)).collect()))
    }

    fn first(&self) -> Cursor {
        Cursor::Answered(self.events.first())
    }

    fn after(&self, choice: Choice) -> Cursor {
        match choice {
            Choice::Answered(at) => Cursor::Answered(self.events.after_call(at)),
            Choice::Open(at) => Cursor::Open(at + 1, self.events.first_return_ns()),
        }
    }

    /// What may come next: whatever was called before the first return. Open ones last, since most histories
    /// can do without them.
    fn candidate(&mut self, cursor: &mut Cursor) -> Option<Choice> {
        loop {
            match *cursor {
                Cursor::Answered(event) => match self.events.call(event) {
                    Some(at) => return Some(Choice::Answered(at)),
                    None => {
                        let return_ns = self.events.time_ns(event);
                        self.furthest_ns = self.furthest_ns.max(return_ns);
                        *cursor = Cursor::Open(0, return_ns);
                    }
                },
                Cursor::Open(at, until_ns) => {
                    let task = *self.open.get(at)?;
                    if self.tasks[task].call_ns > until_ns {
                        return None;
                    }
                    let is_its_turn = self.twin[at].is_none_or(|twin| self.open_placed.has(twin));
                    if is_its_turn && !self.open_placed.has(at) {
                        return Some(Choice::Open(at));
                    }
                    *cursor = Cursor::Open(at + 1, until_ns);
                }
            }
        }
    }

    fn attempt(&mut self, node: &Node<M::State>, choice: Choice) -> Result<Attempt<M::State>, Exhausted> {
        let step = &self.tasks[self.task(choice)].step;
        let Some(state) = self.model.step(&node.state, step) else { return Ok(Attempt::NotNow) };
        if matches!(choice, Choice::Open(_)) && M::covers(&node.state, &state) {
            return Ok(Attempt::NotNow);
        }
        let without = node.before.as_ref().and_then(|before| self.model.step(before, step));
        if without.is_some_and(|without| M::covers(&without, &state)) {
            return Ok(Attempt::NotNow);
        }
        let forced = M::only_looks(step) && state == node.state;
        self.place(choice);
        let placed = self.placed();
        let bytes = std::mem::size_of::<(Box<[u64]>, M::State)>() + placed.len() * 8 + M::heap_bytes(&state);
        if !self.seen.insert((placed, state.clone())) {
            self.unplace(choice);
            return Ok(if forced { Attempt::DeadEnd } else { Attempt::NotNow });
        }
        // A hash table keeps some of its places free.
        self.memory.take(bytes + bytes / 2)?;
        Ok(Attempt::Placed { state, forced })
    }

    /// Takes back the newest step that has an alternative, and those after it.
    fn take_back(&mut self, stack: &mut Vec<Frame<M::State>>) -> Option<Frame<M::State>> {
        loop {
            let frame = stack.pop()?;
            self.unplace(frame.choice);
            if !frame.forced {
                return Some(frame);
            }
        }
    }

    fn task(&self, choice: Choice) -> usize {
        match choice {
            Choice::Answered(at) => self.answered[at],
            Choice::Open(at) => self.open[at],
        }
    }

    fn place(&mut self, choice: Choice) {
        match choice {
            Choice::Answered(at) => {
                self.answered_placed.set(at);
                self.events.remove(at);
            }
            Choice::Open(at) => self.open_placed.set(at),
        }
    }

    /// The opposite of `place`, in the opposite order.
    fn unplace(&mut self, choice: Choice) {
        match choice {
            Choice::Answered(at) => {
                self.answered_placed.clear(at);
                self.events.put_back(at);
            }
            Choice::Open(at) => self.open_placed.clear(at),
        }
    }

    /// What is placed, as short as can be: all at the beginning, none at the end, and little between.
    fn placed(&self) -> Box<[u64]> {
        let (full, middle) = self.answered_placed.middle();
        let (open_full, open_middle) = self.open_placed.middle();
        let lengths = [full as u64, middle.len() as u64, open_full as u64];
        [&lengths, middle, open_middle].concat().into()
    }
}

/// Calls and returns in the order of time, as a doubly linked list that a task's two events can be taken out
/// of and put back into. Place 0 is before the first and after the last.
struct Events {
    list: Vec<Event>,
    call_of: Vec<usize>,
    return_of: Vec<usize>,
}

struct Event {
    at_ns: u64,
    /// The task, when this is its call.
    call: Option<usize>,
    next: usize,
    previous: usize,
}

impl Events {
    /// Calls and returns of the tasks 0, 1, 2 and so on.
    fn new(times: impl Iterator<Item = (u64, u64)>) -> Self {
        let mut order = Vec::new();
        for (task, (call_ns, return_ns)) in times.enumerate() {
            // At one and the same time calls come first: then the two overlap, and either may come first.
            order.push((call_ns, false, task));
            order.push((return_ns, true, task));
        }
        order.sort_unstable();
        let (mut call_of, mut return_of) = (vec![0; order.len() / 2], vec![0; order.len() / 2]);
        let places = order.len() + 1;
        let mut list = vec![Event { at_ns: u64::MAX, call: None, next: 1 % places, previous: places - 1 }];
        for (at_ns, is_return, task) in order {
            let place = list.len();
            if is_return {
                return_of[task] = place
            } else {
                call_of[task] = place
            }
            let call = (!is_return).then_some(task);
            list.push(Event { at_ns, call, next: (place + 1) % places, previous: place - 1 });
        }
        Self { list, call_of, return_of }
    }

    fn are_over(&self) -> bool {
        self.first() == 0
    }

    fn first(&self) -> usize {
        self.list[0].next
    }

    fn after_call(&self, task: usize) -> usize {
        self.list[self.call_of[task]].next
    }

    fn call(&self, event: usize) -> Option<usize> {
        self.list[event].call
    }

    fn time_ns(&self, event: usize) -> u64 {
        self.list[event].at_ns
    }

    fn first_return_ns(&self) -> u64 {
        let mut event = self.first();
        while self.list[event].call.is_some() {
            event = self.list[event].next;
        }
        self.list[event].at_ns
    }

    fn remove(&mut self, task: usize) {
        for place in [self.call_of[task], self.return_of[task]] {
            let (previous, next) = (self.list[place].previous, self.list[place].next);
            self.list[previous].next = next;
            self.list[next].previous = previous;
        }
    }

    /// What was removed last has to be put back first.
    fn put_back(&mut self, task: usize) {
        for place in [self.return_of[task], self.call_of[task]] {
            let (previous, next) = (self.list[place].previous, self.list[place].next);
            self.list[previous].next = place;
            self.list[next].previous = place;
        }
    }
}
