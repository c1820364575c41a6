// SPDX-License-Identifier: GPL-2.0-only
//! Steps back: what a failed operation does to leave everything as it was.

/// The steps back of an operation. Dropping the value takes them, the last one first, because the
/// operation has failed, unless [`forget`](Self::forget) was called.
#[derive(Default)]
pub struct Undo<'a>(Vec<Box<dyn FnOnce() + 'a>>);

impl<'a> Undo<'a> {
    /// Adds the step back of what has just been done. It cannot report an error: the operator sees the
    /// one that made the operation fail.
    pub fn add(&mut self, step: impl FnOnce() + 'a) {
        self.0.push(Box::new(step));
    }

    /// Forgets the steps: the operation has succeeded.
    pub fn forget(mut self) {
        self.0.clear();
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        while let Some(step) = self.0.pop() {
            step();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn steps_are_taken_backwards_unless_they_are_forgotten() {
        let taken = RefCell::new(Vec::new());
        let steps = |keep: bool| {
            let mut undo = Undo::default();
            undo.add(|| taken.borrow_mut().push(1));
            undo.add(|| taken.borrow_mut().push(2));
            if keep {
                undo.forget();
            }
        };
        steps(true);
        assert_eq!(*taken.borrow(), [0; 0]);
        steps(false);
        assert_eq!(*taken.borrow(), [2, 1]);
    }
}
