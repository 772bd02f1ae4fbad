quadrille::entity!(Pot, "pot", by day);

quadrille::event!(TeaTime: "tea.time", by day);

fn main() {}
