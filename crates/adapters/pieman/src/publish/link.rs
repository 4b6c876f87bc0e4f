//! A connection to Redis in which no question waits for ever.

use std::time::Duration;

use redis::{Client, Cmd, Connection, ConnectionLike as _, RedisError, Value, cmd};

use crate::Server;

/// How long a connection may take, and an answer.
pub const PATIENCE: Duration = Duration::from_secs(2);

pub struct Link(Connection);

impl Link {
    /// Connects and sees that somebody answers who is ready to serve.
    pub fn open(server: &Server) -> Result<Self, String> {
        let connected = || -> Result<Self, RedisError> {
            let connection = Client::open(server.connection()?)?.get_connection_with_timeout(PATIENCE)?;
            connection.set_read_timeout(Some(PATIENCE))?;
            connection.set_write_timeout(Some(PATIENCE))?;
            Ok(Self(connection))
        };
        let mut link = connected().map_err(|error| error.to_string())?;
        match link.ask(&cmd("PING"))? {
            // One who may not ask may still be allowed to publish.
            Value::ServerError(error) if error.code() != "NOPERM" => Err(words(&error)),
            _ => Ok(link),
        }
    }

    /// Asks one question; a refusal is an answer.
    pub fn ask(&mut self, question: &Cmd) -> Result<Value, String> {
        let mut answers = self.ask_all([question])?;
        answers.pop().ok_or_else(|| "no answer".into())
    }

    /// Asks several questions in one round trip.
    pub fn ask_all<'a>(&mut self, questions: impl IntoIterator<Item = &'a Cmd>) -> Result<Vec<Value>, String> {
        let mut bytes = vec![];
        let mut count = 0;
        for question in questions {
            bytes.extend(question.get_packed_command());
            count += 1;
        }
        self.0.req_packed_commands(&bytes, 0, count).map_err(|error| error.to_string())
    }

    /// Gives the connection away, to subscribe with.
    pub fn into_inner(self) -> Connection {
        self.0
    }
}

/// Returns a refusal as Redis words it.
pub fn words(error: &redis::ServerError) -> String {
    format!("{} {}", error.code(), error.details().unwrap_or_default()).trim().to_owned()
}
