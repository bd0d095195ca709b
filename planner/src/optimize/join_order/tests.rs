//! The search alone.

use std::collections::BTreeSet;

use super::estimate::Size;
use super::search::{Cost, Equal, Graph, Shape};

fn table(rows: Option<f64>, share: f64, key: &[usize]) -> Size {
    let unique = if key.is_empty() { vec![] } else { vec![key.iter().copied().collect::<BTreeSet<_>>()] };
    Size { base: rows, share, unique, distinct: vec![None; 4] }
}

fn equal(members: &[(usize, usize)]) -> Equal {
    Equal { members: members.iter().map(|(leaf, column)| (*leaf, Some(*column))).collect() }
}

fn left_deep(order: &[usize]) -> Shape {
    let mut leaves = order.iter().map(|leaf| Shape::Leaf(*leaf));
    let first = leaves.next().expect("a relation");
    leaves.fold(first, |left, right| Shape::Join(Box::new(left), Box::new(right)))
}

/// Lines of orders of customers of nations, written from the largest to the smallest.
fn chain(rows: [Option<f64>; 4], share_of_nation: f64) -> Graph {
    let sizes = vec![table(rows[0], 1.0, &[]), table(rows[1], 1.0, &[0]), table(rows[2], 1.0, &[0]), table(rows[3], share_of_nation, &[0])];
    Graph::new(sizes, 0, vec![equal(&[(0, 1), (1, 0)]), equal(&[(1, 1), (2, 0)]), equal(&[(2, 1), (3, 0)])], vec![])
}

#[test]
fn small_results_are_joined_first() {
    let known = [Some(6e6), Some(1.5e6), Some(150e3), Some(25.0)];
    for rows in [known, [None; 4]] {
        let graph = chain(rows, 0.04);
        let best = graph.best();
        // Customers of the nation, then their orders, then the lines.
        assert_eq!(
            best,
            Shape::Join(
                Box::new(Shape::Leaf(0)),
                Box::new(Shape::Join(Box::new(Shape::Leaf(1)), Box::new(Shape::Join(Box::new(Shape::Leaf(2)), Box::new(Shape::Leaf(3)))))),
            )
        );
        assert!(graph.cost(&best).rows * 4.0 < graph.cost(&left_deep(&[0, 1, 2, 3])).rows);
    }
}

#[test]
fn an_equality_goes_before_a_cross_product() {
    // The first and the third are not compared, however few they are.
    let sizes = vec![table(Some(2.0), 1.0, &[]), table(Some(1e6), 1.0, &[]), table(Some(2.0), 1.0, &[])];
    let graph = Graph::new(sizes, 0, vec![equal(&[(0, 0), (1, 0)]), equal(&[(1, 1), (2, 0)])], vec![]);
    assert_eq!(graph.cost(&graph.best()).crosses, 0);
    assert_eq!(graph.cost(&left_deep(&[0, 2, 1])).crosses, 1);
    // Where nothing is compared there is no other way.
    let sizes = vec![table(Some(5.0), 1.0, &[]), table(Some(7.0), 1.0, &[]), table(Some(3.0), 1.0, &[])];
    let graph = Graph::new(sizes, 0, vec![], vec![]);
    assert_eq!(graph.cost(&graph.best()), Cost { crosses: 2, rows: 15.0 });
}

#[test]
fn a_key_of_several_columns_has_as_many_values_as_rows() {
    // lineitem, partsupp by (part, supplier), part, supplier.
    let sizes = vec![table(Some(6e6), 1.0, &[]), table(Some(8e5), 1.0, &[0, 1]), table(Some(2e5), 1.0, &[0]), table(Some(1e4), 1.0, &[0])];
    let graph = Graph::new(sizes, 0, vec![equal(&[(0, 0), (1, 0), (2, 0)]), equal(&[(0, 1), (1, 1), (3, 0)])], vec![]);
    let kept = graph.cost(&left_deep(&[0, 1, 2, 3])).rows;
    assert!((11e6..13e6).contains(&kept), "each line has one partsupp, one part, one supplier: {kept}");
}

#[test]
fn many_to_many_comes_late_where_values_are_guessed() {
    // customer, orders, lines, supplier, nation; customers and suppliers meet by nation.
    let sizes = vec![table(None, 1.0, &[0]), table(None, 1.0, &[0]), table(None, 1.0, &[]), table(None, 1.0, &[0]), table(None, 0.1, &[0])];
    let nations = equal(&[(0, 1), (3, 1), (4, 0)]);
    let graph = Graph::new(sizes, 0, vec![equal(&[(0, 0), (1, 1)]), equal(&[(1, 0), (2, 0)]), equal(&[(2, 1), (3, 0)]), nations], vec![]);
    let best = graph.best();
    let sets = joined_sets(&best);
    assert!(!sets.contains(&0b11001) && !sets.contains(&0b01001), "customers and suppliers of a nation alone: {best:?}");
}

/// The sets that a tree joins.
fn joined_sets(shape: &Shape) -> Vec<u64> {
    match shape {
        Shape::Leaf(_) => vec![],
        Shape::Join(left, right) => [vec![shape.set()], joined_sets(left), joined_sets(right)].concat(),
    }
}

#[test]
fn many_relations_are_joined_one_by_one() {
    let count = 14;
    let sizes = (0..count).map(|it| table(Some(10_f64.powi(1 + it % 5)), 1.0, &[0])).collect();
    let classes = (1..count as usize).map(|it| equal(&[(it - 1, 0), (it, 1)])).collect();
    let graph = Graph::new(sizes, 0, classes, vec![]);
    let best = graph.best();
    assert_eq!(best.set(), (1 << count) - 1);
    assert_eq!(graph.cost(&best).crosses, 0);
}
