//! `rolefs status --watch`: looks again and again.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::Result;
use console::Term;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::rates::Between;
use super::view::{self, History, Screen};
use super::{Wanted, text};
use crate::control::Status;

/// The other screen of a terminal, which leaves what stands on the first as it is (xterm's control sequences).
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

/// Looks every `interval` until the mount ends or somebody interrupts.
pub(super) async fn run(wanted: &Wanted<'_>, interval: Duration, json: bool) -> Result<()> {
    let mut output = match (json, io::stdout().is_terminal()) {
        (true, _) => Output::Json,
        (false, true) => Output::Terminal(Terminal::enter()?),
        (false, false) => Output::Lines,
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut clock = tokio::time::interval(interval);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<(Status, Instant)> = None;
    loop {
        tokio::select! {
            _ = clock.tick() => {}
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        }
        let (now, at) = (wanted.status().await?, Instant::now());
        if let Some((before, since)) = &before {
            let time = at.duration_since(*since);
            let look = Between {
                before,
                now: &now,
                time,
            };
            match output.show(look) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                shown => shown?,
            }
        }
        before = Some((now, at));
    }
}

enum Output {
    Terminal(Terminal),
    Lines,
    Json,
}

impl Output {
    fn show(&mut self, look: Between<'_>) -> io::Result<()> {
        match self {
            Self::Terminal(terminal) => terminal.show(look),
            Self::Lines => {
                let at = Timestamp::now().strftime("%H:%M:%SZ").to_string();
                print(&text::short(look, &at))
            }
            Self::Json => print(&serde_json::to_string(look.now)?),
        }
    }
}

fn print(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// A terminal that shows the live view; it is as before when this is dropped.
struct Terminal {
    term: Term,
    history: History,
}

impl Terminal {
    fn enter() -> io::Result<Self> {
        let term = Term::buffered_stdout();
        term.write_str(ENTER)?;
        term.hide_cursor()?;
        term.flush()?;
        let history = History::default();
        Ok(Self { term, history })
    }

    fn show(&mut self, look: Between<'_>) -> io::Result<()> {
        self.history.note(look);
        let (rows, columns) = self.term.size();
        let screen = Screen {
            rows: usize::from(rows),
            columns: usize::from(columns),
            styled: console::colors_enabled(),
        };
        let lines = view::frame(look, &self.history, screen);
        self.term.move_cursor_to(0, 0)?;
        for (index, line) in lines.iter().enumerate() {
            self.term.clear_line()?;
            self.term.write_str(line)?;
            // The last row has no next one: the terminal would scroll.
            if index + 1 < screen.rows {
                self.term.write_str("\r\n")?;
            }
        }
        if lines.len() < screen.rows {
            self.term.clear_to_end_of_screen()?;
        }
        self.term.flush()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = self.term.show_cursor();
        let _ = self.term.write_str(LEAVE);
        let _ = self.term.flush();
    }
}
