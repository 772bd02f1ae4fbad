// Where the nodes of a graph stand: in columns, each behind those it follows, with few edges that cross. The same graph is
// always drawn alike.

export const WIDTH = 168, HEIGHT = 48;
// Between two columns there is room for the texts of the edges there.
const GAP_X = 46, CHAR_WIDTH = 6.2, GAP_Y = 22, BEND_HEIGHT = 26, MARGIN = 16, SWEEPS = 12;

// Edges of a circle that lead back: the first node in the given order stays the first.
function backward(nodes, out) {
  const back = new Set(), seen = new Map();
  const visit = (id) => {
    seen.set(id, "open");
    for (const edge of out.get(id)) {
      if (seen.get(edge.to) === "open") back.add(edge);
      else if (!seen.has(edge.to)) visit(edge.to);
    }
    seen.set(id, "done");
  };
  const targets = new Set([...out.values()].flat().map((edge) => edge.to));
  for (const { id } of [...nodes.filter((node) => !targets.has(node.id)), ...nodes]) if (!seen.has(id)) visit(id);
  return back;
}

function columnsOf(nodes, edges) {
  const column = new Map(nodes.map(({ id }) => [id, 0]));
  // As far behind as the longest way to it.
  for (let changed = true, rounds = 0; changed && rounds <= nodes.length; rounds++) {
    changed = false;
    for (const { low, high } of edges) {
      if (column.get(high) <= column.get(low)) { column.set(high, column.get(low) + 1); changed = true; }
    }
  }
  // What nothing leads to stands right before what it leads to.
  for (const { id } of nodes) {
    if (edges.some(({ high }) => high === id)) continue;
    const behind = edges.filter(({ low }) => low === id).map(({ high }) => column.get(high));
    if (behind.length) column.set(id, Math.min(...behind) - 1);
  }
  return column;
}

// Alarms say nothing about the order of things: what only they lead to ends where the rest ends, and the drawing stays narrow.
function moveAlarmed(column, nodes, edges) {
  const part = new Map(nodes.map(({ id }) => [id, id]));
  const root = (id) => { while (part.get(id) !== id) id = part.get(id); return id; };
  for (const edge of edges) if (edge.sort !== "alarm") part.set(root(edge.from), root(edge.to));
  const end = Math.max(...column.values());
  const alarmed = new Set(edges.filter(({ sort, from, to }) => sort === "alarm" && root(from) !== root(to)).map(({ to }) => root(to)));
  for (const one of alarmed) {
    const ids = nodes.map(({ id }) => id).filter((id) => root(id) === one);
    const by = end - Math.max(...ids.map((id) => column.get(id)));
    for (const id of ids) column.set(id, column.get(id) + by);
  }
}

const middle = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

function crossings(columns) {
  let count = 0;
  for (const column of columns) {
    const pairs = column.flatMap((place, at) => place.after.map((other) => [at, other.at])).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    for (let i = 0; i < pairs.length; i++) for (let k = i + 1; k < pairs.length; k++) count += pairs[i][1] > pairs[k][1] && pairs[i][0] < pairs[k][0];
  }
  return count;
}

function sort(columns) {
  const number = () => columns.forEach((column) => column.forEach((place, at) => { place.at = at; }));
  number();
  let best = { count: crossings(columns), columns: columns.map((column) => [...column]) };
  for (let sweep = 0; sweep < SWEEPS && best.count; sweep++) {
    const forth = sweep % 2 === 0;
    for (const column of forth ? columns : [...columns].reverse()) {
      for (const place of column) {
        const near = forth ? place.before : place.after;
        place.wish = near.length ? middle(near.map(({ at }) => at)) : place.at;
      }
      column.sort((one, other) => one.wish - other.wish || one.at - other.at);
      column.forEach((place, at) => { place.at = at; });
    }
    const count = crossings(columns);
    if (count < best.count) best = { count, columns: columns.map((column) => [...column]) };
  }
  best.columns.forEach((column, at) => { columns[at] = column; });
  number();
}

// Gives the places of a column the heights that are nearest to their wishes, none on another.
function settle(column) {
  const blocks = [];
  let used = 0;
  for (const place of column) {
    place.offset = used + place.height / 2;
    used += place.height + GAP_Y;
    blocks.push({ sum: place.wish - place.offset, count: 1 });
    while (blocks.length > 1) {
      const [one, other] = blocks.slice(-2);
      if (one.sum / one.count <= other.sum / other.count) break;
      blocks.splice(-2, 2, { sum: one.sum + other.sum, count: one.count + other.count });
    }
  }
  let at = 0;
  for (const { sum, count } of blocks) {
    for (const place of column.slice(at, at + count)) place.y = sum / count + place.offset;
    at += count;
  }
}

// `{ width, height, at: Map(id → {x, y}), lines: [{ points: [{x, y}…], part: where its text is } of each edge] }`, by
// the middles of the nodes. `charsOf` tells how long the text of an edge is.
export function layout(nodes, allEdges, charsOf) {
  const known = new Set(nodes.map(({ id }) => id));
  const edges = allEdges.map((edge) => ({ ...edge, isDrawn: known.has(edge.from) && known.has(edge.to) && edge.from !== edge.to }));
  const drawn = edges.filter((edge) => edge.isDrawn), ordering = drawn.filter(({ sort }) => sort !== "alarm");
  const back = backward(nodes, new Map(nodes.map(({ id }) => [id, ordering.filter((edge) => edge.from === id)])));
  for (const edge of drawn) [edge.low, edge.high] = back.has(edge) ? [edge.to, edge.from] : [edge.from, edge.to];
  const columnOf = columnsOf(nodes, ordering);
  moveAlarmed(columnOf, nodes, drawn);
  for (const edge of drawn) if (columnOf.get(edge.low) > columnOf.get(edge.high)) [edge.low, edge.high] = [edge.high, edge.low];
  const columns = Array.from({ length: Math.max(0, ...columnOf.values()) + 1 }, () => []);
  const make = (column, height) => {
    const place = { column, height, before: [], after: [] };
    columns[column].push(place);
    return place;
  };
  const places = new Map(nodes.map(({ id }) => [id, make(columnOf.get(id), HEIGHT)]));
  const gaps = columns.map(() => GAP_X);
  for (const edge of drawn) {
    // An edge over several columns has a bend in each of those between.
    const [first, last] = [places.get(edge.low), places.get(edge.high)];
    edge.places = [first];
    for (let column = first.column + 1; column < last.column; column++) edge.places.push(make(column, BEND_HEIGHT));
    edge.places.push(last);
    for (let at = 1; at < edge.places.length && first.column !== last.column; at++) {
      edge.places[at - 1].after.push(edge.places[at]);
      edge.places[at].before.push(edge.places[at - 1]);
    }
    if (edge.low !== edge.from) edge.places.reverse();
    // Its text is near the end that fewer edges share.
    const fans = drawn.filter(({ from }) => from === edge.from).length >= drawn.filter(({ to }) => to === edge.to).length;
    edge.part = fans ? edge.places.length - 2 : 0;
    const gap = Math.min(edge.places[edge.part].column, edge.places[edge.part + 1].column);
    gaps[gap] = Math.max(gaps[gap], charsOf(edge) * CHAR_WIDTH + GAP_X / 2);
  }
  sort(columns);
  for (const column of columns) {
    column.forEach((place) => { place.wish = 0; });
    settle(column);
  }
  for (let round = 0; round < SWEEPS; round++) {
    for (const column of round % 2 ? [...columns].reverse() : columns) {
      for (const place of column) {
        const near = [...place.before, ...place.after];
        place.wish = near.length ? middle(near.map(({ y }) => y)) : place.y;
      }
      settle(column);
    }
  }
  const all = columns.flat();
  const top = Math.min(...all.map(({ y, height }) => y - height / 2));
  let x = MARGIN + WIDTH / 2;
  columns.forEach((column, at) => {
    for (const place of column) { place.x = x; place.y += MARGIN - top; }
    x += WIDTH + gaps[at];
  });
  return {
    width: x - gaps.at(-1) - WIDTH / 2 + MARGIN,
    height: Math.max(HEIGHT, ...all.map(({ y, height }) => y + height / 2)) + MARGIN,
    at: places,
    lines: edges.map((edge) => (edge.isDrawn ? { points: edge.places, part: edge.part } : null)),
  };
}
