//! Solves symmetric Toeplitz systems (Levinson, 1947): the equations of a filter that leaves the least power.

/// A solver for systems of one size. Allocates when made, not when solving.
pub struct Toeplitz {
    matrix: Vec<f64>,
    forward: Vec<f64>,
    next: Vec<f64>,
    solution: Vec<f64>,
}

impl Toeplitz {
    /// For systems of `size` unknowns. Allocates.
    pub fn new(size: usize) -> Self {
        Self { matrix: vec![0.0; size], forward: vec![0.0; size], next: vec![0.0; size], solution: vec![0.0; size] }
    }

    /// Solves the system whose matrix has `matrix(|i - j|)` in row i, column j. False where the matrix is not
    /// positive: the solution is then of no use. Audio thread.
    pub fn solve(&mut self, matrix: impl Fn(usize) -> f64, right: impl Fn(usize) -> f64) -> bool {
        let size = self.matrix.len();
        let scale = matrix(0);
        if !(scale > 0.0 && scale.is_finite()) {
            return false;
        }
        for (i, m) in self.matrix.iter_mut().enumerate() {
            *m = matrix(i) / scale;
        }
        self.forward[0] = 1.0;
        self.solution[0] = right(0) / scale;
        for n in 1..size {
            let below = self.matrix[1..=n].iter().rev();
            let error: f64 = below.clone().zip(&self.forward).map(|(m, f)| m * f).sum();
            let found: f64 = below.zip(&self.solution).map(|(m, x)| m * x).sum();
            let left = 1.0 - error * error;
            if left <= 0.0 {
                return false;
            }
            self.forward[n] = 0.0;
            for i in 0..=n {
                self.next[i] = (self.forward[i] - error * self.forward[n - i]) / left;
            }
            std::mem::swap(&mut self.forward, &mut self.next);
            let missing = right(n) / scale - found;
            self.solution[n] = 0.0;
            for (x, f) in self.solution[..=n].iter_mut().zip(self.forward[..=n].iter().rev()) {
                *x += missing * f;
            }
        }
        self.solution.iter().all(|x| x.is_finite())
    }

    /// What the last [`Toeplitz::solve`] found.
    pub fn solution(&self) -> &[f64] {
        &self.solution
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_solution_fulfils_the_equations() {
        let size = 24;
        let matrix = |i: usize| 0.7_f64.powi(i as i32) + if i == 0 { 0.1 } else { 0.0 };
        let right = |i: usize| (i as f64 * 0.7).sin();
        let mut toeplitz = Toeplitz::new(size);
        assert!(toeplitz.solve(matrix, right));
        for i in 0..size {
            let row: f64 = (0..size).map(|j| matrix(i.abs_diff(j)) * toeplitz.solution()[j]).sum();
            assert!((row - right(i)).abs() < 1e-9, "row {i}: {row}");
        }
    }

    #[test]
    fn a_matrix_that_is_not_positive_is_refused() {
        assert!(!Toeplitz::new(4).solve(|_| 1.0, |_| 1.0));
        assert!(!Toeplitz::new(4).solve(|_| 0.0, |_| 1.0));
    }
}
