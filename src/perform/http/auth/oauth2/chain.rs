//! Refresh tokens that took each other's place.

/// How many are remembered. A call that began before as many rotations reads its Secret again.
const MOST: usize = 100;

/// What was in a Secret, and the tokens that took its place one after another.
#[derive(Default)]
pub(super) struct Chain(Vec<String>);

impl Chain {
    /// One that begins with what is in the Secret.
    pub(super) fn of(stored: String) -> Self {
        Self(vec![stored])
    }

    /// Whether it is one of them, used up or not.
    pub(super) fn has(&self, token: &str) -> bool {
        self.0.iter().any(|known| known == token)
    }

    /// The one that is good.
    pub(super) fn newest(&self) -> Option<&str> {
        self.0.last().map(String::as_str)
    }

    /// Another takes the place of the newest.
    pub(super) fn rotate(&mut self, token: String) {
        self.0.push(token);
        if self.0.len() > MOST {
            // the first is still in the Secret where it may not be written
            self.0.remove(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_newest_are_remembered_however_many_there_are() {
        let mut chain = Chain::of("first".to_owned());
        for number in 0..3 * MOST {
            chain.rotate(number.to_string());
        }
        assert_eq!(chain.0.len(), MOST);
        assert!(chain.has("first") && chain.has(&(3 * MOST - 2).to_string()) && !chain.has("1"));
        assert_eq!(chain.newest(), Some((3 * MOST - 1).to_string().as_str()));
    }
}
