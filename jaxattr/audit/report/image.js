// The page of one image: photo and maps side by side, every token readable.
function listOf(from) {
  const [kind, first, second] = from.split('/');
  if (kind === 'finding' && D.findings[first]) return [`#/${from}`, `finding ${first}`, D.findings[first].images || []];
  if (kind === 'class' && D.classes[first]) return [`#/${from}`, className(first), imagesOfClass(Number(first))];
  const pair = kind === 'pair' && D.pairs[`${first}/${second}`];
  if (pair) return [`#/${from}`, `${className(first)} against ${className(second)}`, [...pair.suspicious, ...pair.typical].map((one) => one[0])];
  return ['#/', 'all images', Object.keys(D.images).map(Number)];
}

// A map with its caption, colour bar and the value at the cursor. All of it reads `map` and `words`.
function mapPanel(image, { map, words, title, limit, alone, box }, cursor) {
  const canvas = mapCanvas(map, { photo: image.photo, size: 320, limit, words, alone });
  canvas.tabIndex = 0;
  const marker = h('div', { class: 'token', hidden: true });
  const frame = h('div', { class: 'frame' }, canvas, marker, box && boxMark(box));
  const readout = h('p', { class: 'readout', 'aria-live': 'off' }, ' '), subtitle = h('bdi', {});
  cursor.listeners.push((row, column) => {
    marker.hidden = row === null;
    readout.textContent = ' ';
    if (row === null) return;
    place(marker, column, row, 1, 1);
    const value = map.values[row * COLUMNS + column] * map.scale;
    readout.append(h('b', {}, signed(value, 3)), ' ', printable(value > 0 ? words.for : value < 0 ? words.against : 'zero'));
  });
  listen(canvas, cursor);
  const name = () => { subtitle.textContent = printable(words.title); };
  redraws.push(name);
  name();
  return h('figure', { class: 'panel' }, h('figcaption', {}, h('b', {}, title), subtitle),
    frame, colourBar(map, { limit, words, alone }), readout);
}

function panel(image, name, limit, cursor, box) {
  const map = mapOf(image, name), words = meaning(name, image.label, image.rival);
  const title = { label: 'For the label', rival: image.prediction === image.label ? 'For the strongest rival' : 'For the prediction', pair: 'Label against ' + (image.prediction === image.label ? 'rival' : 'prediction'), positive: 'Positive map of the label' }[name];
  return mapPanel(image, { map, words, title, limit, alone: name === 'positive', box: name === 'pair' && box }, cursor);
}

function place(node, column, row, width, height) {
  Object.assign(node.style, { left: `${(100 * column) / COLUMNS}%`, top: `${(100 * row) / ROWS}%`, width: `${(100 * width) / COLUMNS}%`, height: `${(100 * height) / ROWS}%` });
}

function boxMark([top, left, bottom, right]) {
  const node = h('div', { class: 'box', title: 'The place that a finding names' });
  place(node, left, top, right - left, bottom - top);
  return node;
}

// Pointing at one map reads the same token in all of them; arrows move it while a map has the focus.
function listen(canvas, cursor) {
  const tell = (row, column) => { cursor.at = row === null ? null : [row, column]; cursor.listeners.forEach((listener) => listener(row, column)); };
  canvas.addEventListener('pointermove', (event) => {
    const area = canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - area.left) / area.width) * COLUMNS), row = Math.floor(((event.clientY - area.top) / area.height) * ROWS);
    tell(Math.max(0, Math.min(ROWS - 1, row)), Math.max(0, Math.min(COLUMNS - 1, column)));
  });
  canvas.addEventListener('pointerleave', () => tell(null));
  canvas.addEventListener('blur', () => tell(null));
  canvas.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const [row, column] = cursor.at || [Math.floor(ROWS / 2), Math.floor(COLUMNS / 2)];
    tell(Math.max(0, Math.min(ROWS - 1, row + step[0])), Math.max(0, Math.min(COLUMNS - 1, column + step[1])));
  });
}

// Photo, map for the label, for the rival, for the label against the rival, on one scale.
function panels(image, cursor) {
  const names = ['label', 'rival', 'pair'];
  const shared = Math.max(...names.map((name) => mapOf(image, name).limit));
  const box = (findingsOf.get(image.index) || []).map((rank) => D.findings[rank].box).find(Boolean);
  return h('div', { class: 'panels' },
    h('figure', { class: 'panel' }, h('figcaption', {}, h('b', {}, 'Photo'), h('span', {}, 'as the model saw it')),
      h('div', { class: 'frame' }, h('img', { class: 'photo', src: photoUrl(image.photo), alt: `The photo, labelled ${className(image.label)}` }))),
    names.map((name) => panel(image, name, () => shared, cursor, box)));
}

// Which classes are set against each other, as places among an image's explained ones: the label is 0,
// null is all others. Kept from image to image.
const asked = { first: 0, second: 1 };

// Any explained class against any other, computed here from the additive maps of their log-odds.
function anyPanel(image, cursor) {
  const [classes] = image.additive, places = classes.map((_, at) => at), count = classes.length;
  const other = image.prediction === image.label ? 'rival' : 'prediction';
  const name = (at) => (at === null ? 'all other classes' : className(classes[at]) + (['  (label)', `  (${other})`][at] || ''));
  const map = {}, words = {};
  const options = (node, choices, chosen) => node.replaceChildren(...choices.map((at) => h('option', { value: at === null ? '' : at, selected: at === chosen }, name(at))));
  const set = (first, second) => {
    // A class is not set against itself: naming the other one turns the two round.
    Object.assign(asked, { first, second: first === second ? asked.first : second });
    if (asked.first === asked.second) asked.second = null;
    options(own, places, asked.first);
    options(against, [null, ...places.filter((at) => at !== asked.first)], asked.second);
    Object.assign(map, additiveMap(image, asked.first, asked.second));
    Object.assign(words, additiveMeaning(image, asked.first, asked.second));
  };
  const change = () => {
    set(Number(own.value), against.value === '' ? null : Number(against.value));
    redraw();
    cursor.listeners.forEach((listener) => listener(...(cursor.at || [null])));
  };
  const own = h('select', { id: 'any-for', onchange: change }), against = h('select', { id: 'any-against', onchange: change });
  set(asked.first, asked.second < count ? asked.second : null);
  return h('section', { class: 'any', 'aria-label': 'Any class against any other' },
    mapPanel(image, { map, words, title: 'Additive map', limit: () => map.limit, alone: true }, cursor),
    h('div', { class: 'ask' }, h('h2', {}, 'Any class against any other'),
      h('p', { class: 'asked' }, h('span', {}, h('label', { for: 'any-for' }, 'For'), own), h('span', {}, h('label', { for: 'any-against' }, 'against'), against)),
      h('p', { class: 'quiet' }, `Choose among the label and ${count > 2 ? `the ${count - 1} likeliest other classes` : 'the other class'} of this image. This map is another method than the three above: tokens times their derivative, summed over all blocks. It is additive, and so this page computes it itself from the maps of each class's log-odds: w₁m₁\u00a0−\u00a0w₂m₂, where w is 1\u00a0−\u00a0p of the class. Its values and its scale are its own; do not compare them with those above one to one. It marks the corners of images more than they do, where such evidence says little.`)));
}

function probabilityTable(image) {
  return h('table', { class: 'list probabilities' },
    h('thead', {}, h('tr', {}, h('th', {}, 'Class'), h('th', { class: 'n' }, 'Probability'), h('th', {}), h('th', { class: 'n' }, 'Logit'))),
    h('tbody', {}, image.classes.map(([index, probability, logit]) => h('tr', { class: index === image.label ? 'own' : '' },
      h('td', {}, classLink(index), index === image.label ? h('span', { class: 'tag' }, 'label') : null, index === image.rival ? h('span', { class: 'tag' }, 'rival') : null),
      h('td', { class: 'n' }, percent(probability)), h('td', {}, bar(probability, '')), h('td', { class: 'n' }, known(logit) ? logit.toFixed(2).replace('-', '−') : '–')))));
}

function imagePage(index, from) {
  const image = imageOf(index);
  if (!image) return null;
  const [back, place, all] = listOf(from || '');
  const list = all.filter((one) => D.images[one]), at = list.indexOf(image.index);
  const to = (step) => (at >= 0 && list[at + step] !== undefined ? `#/image/${list[at + step]}${from ? `?from=${from}` : ''}` : null);
  const link = (step, id, text) => (to(step) ? h('a', { href: to(step), id }, text) : h('span', { class: 'quiet' }, text));
  const cursor = { listeners: [], at: null };
  const ranks = findingsOf.get(image.index) || [];
  const margin = logitOf(image, image.label) - logitOf(image, image.rival);
  const right = image.prediction === image.label;
  const fact = (name, ...value) => h('tr', {}, h('th', {}, name), h('td', {}, value));
  return [
    h('nav', { class: 'crumbs', 'aria-label': 'Place' }, h('a', { href: back, id: 'back' }, `← ${place}`), at >= 0 ? h('span', {}, `${integer(at + 1)} of ${integer(list.length)}`) : null,
      h('span', { class: 'steps' }, link(-1, 'previous', '← previous'), link(1, 'next', 'next →'))),
    heading(h('span', {}, h('span', { class: 'quiet' }, 'labelled '), h('bdi', {}, className(image.label)), h('span', { class: 'quiet' }, right ? ', predicted ' : ', but predicted '), h('bdi', {}, className(image.prediction))),
      h('span', { class: `verdict ${right ? 'right' : 'wrong'}` }, right ? '✓ agrees' : '✗ contradicts')),
    h('p', { class: 'sub' }, fileName(image.file)),
    controls('scale'),
    panels(image, cursor),
    anyPanel(image, cursor),
    h('div', { class: 'columns image' },
      h('section', {}, h('h2', {}, 'What the model says'), probabilityTable(image)),
      h('section', {}, h('h2', {}, 'About this image'), h('table', { class: 'facts' },
        fact('Margin', h('b', {}, signed(margin)), h('span', { class: 'quiet' }, ` logits, for ${className(margin >= 0 ? image.label : image.rival)}`)),
        fact('Findings', ranks.length ? ranks.map((rank, i) => [i ? h('br') : '', h('a', { href: `#/finding/${rank}` }, `${rank}. ${D.findings[rank].title}`)]) : h('span', { class: 'quiet' }, 'none')),
        fact('Class', classLink(image.label)),
        D.pairs[`${image.label}/${image.rival}`] ? fact('Pair', pairLink(image.label, image.rival, `${className(image.label)} against ${className(image.rival)}`)) : null,
        fact('Index', integer(image.index), h('span', { class: 'quiet' }, ' in the ledger')),
        fact('SHA-256', h('code', {}, image.hash, '…')))),
      h('section', { class: 'positive' }, panel(image, 'positive', () => 0, cursor))),
  ];
}
