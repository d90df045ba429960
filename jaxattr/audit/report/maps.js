// Signed maps: one value a patch of the grid, drawn as the bottom layer with the photo over them.
// Whatever draws a map reads `map` and `words` anew at each redraw, so that both may change.
const PALETTES = Object.fromEntries(Object.entries(D.palettes).map(([name, text]) => [name, bytes(text)]));
// `scale` is for the maps of one image, `rows` for a row of images, where one would outshine the rest.
const view = { scale: 'shared', rows: 'own', opacity: 0.3, sign: 'both', colours: 'diverging', grey: true, smooth: true, marks: false };
const SPOT = 90; // strength of a legend's spot, of 127
const MAP_NAMES = ['label', 'rival', 'pair', 'positive'];
let redraws = [];

function bytes(text) {
  return Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
}

function toMap(values, scale) {
  let low = Infinity, high = -Infinity;
  for (const one of values) { if (one < low) low = one; if (one > high) high = one; }
  // A constant map tells nothing about places, and is drawn as zero.
  const limit = low === high ? 0 : Math.max(Math.abs(low), Math.abs(high)) * scale;
  return { values, scale, limit, ends: [low, high] };
}

const meanMap = ([text, scale]) => toMap(new Int8Array(bytes(text).buffer), scale);

function mapOf(image, name) {
  const place = MAP_NAMES.indexOf(name), size = ROWS * COLUMNS;
  return toMap(new Int8Array(bytes(image.maps).buffer, place * size, size), image.scales[place]);
}

// The map of one of an image's explained classes against another, or against all others (second null).
// The maps that came are additive, those of log-odds, whose derivative by the logits is
// (e - p) / (1 - p): times `weights`, 1 - p, their difference is that of two logits.
function additiveMap(image, first, second) {
  const [, weights, text, scales] = image.additive, size = ROWS * COLUMNS;
  const whole = new Int16Array(bytes(text).buffer);
  const value = (at, i) => scales[at] * whole[at * size + i];
  const against = (i) => weights[first] * value(first, i) - weights[second] * value(second, i);
  return toMap(Float32Array.from({ length: size }, (_, i) => (second === null ? value(first, i) : against(i))), 1);
}

// What the two signs of a map mean, in words. In a pair map the second sign speaks for the rival.
function meaning(name, label, rival) {
  if (name === 'pair') return { name, for: `for ${className(label)}`, against: `for ${className(rival)}`, title: `${className(label)} against ${className(rival)}` };
  const subject = className(name === 'rival' ? rival : label);
  if (name === 'positive') return { name, for: `for ${subject}`, against: '', title: `for ${subject}, positive only` };
  return { name, for: `for ${subject}`, against: `against ${subject}`, title: `for ${subject}` };
}

function additiveMeaning(image, first, second) {
  const [own, other] = [first, second].map((at) => (at === null ? null : className(image.additive[0][at])));
  if (second === null) return { name: 'any', for: `for ${own}`, against: `against ${own}`, title: `${own} against all other classes` };
  return { name: 'any', for: `for ${own}`, against: `for ${other}`, title: `${own} against ${other}` };
}

// A spot in the colour that a sign has in the maps, whichever colours are chosen.
function swatch(sign) {
  const spot = h('span', { class: `swatch ${sign}`, 'aria-hidden': 'true' });
  const draw = () => {
    const place = 3 * (127 + (sign === 'for' ? SPOT : -SPOT));
    spot.style.background = `rgb(${[...PALETTES[view.colours].subarray(place, place + 3)].join()})`;
  };
  redraws.push(draw);
  draw();
  return spot;
}

// What the colours of a block of maps mean, by name where all its maps ask for the same class. Maps
// of another kind, in which a colour means something else, never stand under it: they have their own.
function legend(indices, map = 'pair') {
  const shown = indices.map(imageOf).filter(Boolean);
  if (!shown.length) return null;
  const named = (key, other) => (shown.every((one) => one[key] === shown[0][key]) ? h('bdi', {}, className(shown[0][key])) : other);
  const second = map === 'pair' ? ['for ', named('rival', 'the strongest other class of each image')] : ['against ', named('label', 'it')];
  return h('p', { class: 'sub legend', 'data-map': map }, map === 'pair' ? 'Pair maps: ' : 'Label maps: ',
    h('span', { class: 'sign' }, swatch('for'), 'for ', named('label', 'the label')), h('span', { class: 'sign' }, swatch('against'), second));
}

// What is drawn of each patch, from -1 to 1: the value in units of `limit`; of a map with one sign its
// place between the map's smallest and largest value, for a common offset would hide the rest.
function shares(map, limit, words) {
  const factor = limit && map.limit ? map.scale / limit : 0, [low, high] = map.ends;
  const share = words.against ? (v) => v * factor : (v) => (map.limit ? (v - low) / (high - low) : 0);
  const keep = view.sign === 'for' ? (v) => (v > 0 ? v : 0) : view.sign === 'against' ? (v) => (v < 0 ? v : 0) : (v) => v;
  return Float32Array.from(map.values, (v) => keep(share(v)));
}

// The value between patch centres (bilinear) or of the patch.
function sampler(values, width, height) {
  return (x, y) => {
    const column = ((x + 0.5) * COLUMNS) / width, row = ((y + 0.5) * ROWS) / height;
    if (!view.smooth) return values[Math.floor(row) * COLUMNS + Math.floor(column)];
    const c = Math.min(Math.max(column - 0.5, 0), COLUMNS - 1), r = Math.min(Math.max(row - 0.5, 0), ROWS - 1);
    const c0 = Math.floor(c), r0 = Math.floor(r), c1 = Math.min(c0 + 1, COLUMNS - 1), r1 = Math.min(r0 + 1, ROWS - 1);
    const top = values[r0 * COLUMNS + c0] * (1 - c + c0) + values[r0 * COLUMNS + c1] * (c - c0);
    const bottom = values[r1 * COLUMNS + c0] * (1 - c + c0) + values[r1 * COLUMNS + c1] * (c - c0);
    return top * (1 - r + r0) + bottom * (r - r0);
  };
}

function paintMap(context, values, width, height) {
  const picture = context.createImageData(width, height);
  const table = PALETTES[view.colours], value = sampler(values, width, height);
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at += 4) {
      const place = 3 * (127 + Math.max(-127, Math.min(127, Math.round(127 * value(x, y)))));
      picture.data[at] = table[place];
      picture.data[at + 1] = table[place + 1];
      picture.data[at + 2] = table[place + 2];
      picture.data[at + 3] = 255;
    }
  context.putImageData(picture, 0, 0);
}

function paintMarks(context, values, width, height) {
  const cell = width / COLUMNS;
  context.font = `600 ${Math.max(7, cell * 0.8)}px ui-monospace, monospace`;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  values.forEach((share, i) => {
    if (Math.abs(share) < 0.25) return;
    const x = ((i % COLUMNS) + 0.5) * cell, y = (Math.floor(i / COLUMNS) + 0.5) * (height / ROWS);
    context.fillStyle = Math.abs(share) > 0.6 && view.opacity < 0.5 ? '#fff' : '#000';
    context.fillText(share > 0 ? '+' : '−', x, y);
  });
}

// Photos are decoded once; the grey copy leaves all colour to the map.
const photos = new Map();
function loadPhoto(text) {
  if (!text) return Promise.resolve(null);
  if (!photos.has(text)) {
    if (photos.size > 200) photos.clear();
    photos.set(text, decodePhoto(text));
  }
  return photos.get(text);
}

async function decodePhoto(text) {
  const image = new Image();
  image.src = photoUrl(text);
  await image.decode();
  const grey = h('canvas', { width: image.naturalWidth, height: image.naturalHeight });
  const context = grey.getContext('2d');
  context.drawImage(image, 0, 0);
  const picture = context.getImageData(0, 0, grey.width, grey.height);
  for (let at = 0; at < picture.data.length; at += 4) {
    const [r, g, b] = picture.data.subarray(at, at + 3);
    picture.data.fill(0.299 * r + 0.587 * g + 0.114 * b, at, at + 3);
  }
  context.putImageData(picture, 0, 0);
  return { image, grey };
}

// A canvas that draws itself again whenever the view changes; `limit()` is what 1.0 stands for.
function mapCanvas(map, { photo, size, limit, words, alone, rows }) {
  const width = size, height = Math.round((size * ROWS) / COLUMNS);
  const canvas = h('canvas', { class: 'map', width, height, role: 'img', 'data-map': words.name });
  const draw = async () => {
    canvas.setAttribute('aria-label', printable(describe(map, words)));
    const decoded = await loadPhoto(photo);
    const context = canvas.getContext('2d');
    const scale = alone || view[rows ? 'rows' : 'scale'] === 'own' ? map.limit : limit();
    const values = shares(map, scale, words);
    paintMap(context, values, width, height);
    if (decoded) {
      context.globalAlpha = view.opacity;
      context.drawImage(view.grey ? decoded.grey : decoded.image, 0, 0, width, height);
      context.globalAlpha = 1;
    }
    if (view.marks) paintMarks(context, values, width, height);
    canvas.dataset.drawn = '1';
  };
  redraws.push(draw);
  draw();
  return canvas;
}

// The map in words, for who does not see its colours.
function describe(map, words) {
  if (!map.limit) return `Map ${words.title}: constant, shows nothing about places.`;
  const place = (v) => { const i = map.values.indexOf(v); return `row ${Math.floor(i / COLUMNS) + 1}, column ${(i % COLUMNS) + 1}`; };
  const high = Math.max(...map.values), low = Math.min(...map.values);
  const parts = [];
  if (high > 0) parts.push(`strongest ${words.for} at ${place(high)} (${signed(high * map.scale, 2)})`);
  if (low < 0) parts.push(`strongest ${words.against} at ${place(low)} (${signed(low * map.scale, 2)})`);
  return `Map ${words.title}: ${parts.join('; ')}.`;
}

function colourBar(map, { limit, words, alone }) {
  const canvas = h('canvas', { class: 'ramp', width: 255, height: 1, 'aria-hidden': 'true' });
  const ticks = h('div', { class: 'ticks' }), signs = h('div', { class: 'signs' });
  const draw = () => {
    const scale = alone || view.scale === 'own' ? map.limit : limit();
    const context = canvas.getContext('2d'), picture = context.createImageData(255, 1), table = PALETTES[view.colours];
    const oneSided = !words.against;
    for (let i = 0; i < 255; i++) {
      const place = oneSided ? 127 + Math.round(i / 2) : i;
      const hidden = (view.sign === 'for' && place < 127) || (view.sign === 'against' && place > 127);
      picture.data.set([...table.subarray(hidden ? 381 : 3 * place, hidden ? 384 : 3 * place + 3), 255], 4 * i);
    }
    context.putImageData(picture, 0, 0);
    canvas.dataset.drawn = '1';
    const numbers = oneSided ? map.ends.map((end) => figure(end * map.scale, 2)) : [figure(-scale, 2), '0', signed(scale, 2)];
    ticks.replaceChildren(...numbers.map((text) => h('span', {}, text)));
    signs.replaceChildren(h('span', {}, words.against), h('span', {}, words.for));
  };
  redraws.push(draw);
  draw();
  return h('div', { class: 'colourbar', 'data-map': words.name }, canvas, ticks, signs);
}

function choice(name, title, options) {
  const buttons = options.map(([value, text]) =>
    h('button', { type: 'button', 'aria-pressed': String(view[name] === value), onclick: () => {
      view[name] = value;
      buttons.forEach((one, i) => one.setAttribute('aria-pressed', String(options[i][0] === value)));
      redraw();
    } }, text));
  return h('span', { class: 'choice', role: 'group', 'aria-label': title }, h('span', { class: 'quiet' }, title), h('span', { class: 'buttons' }, buttons));
}

function tick(name, title) {
  const box = h('input', { type: 'checkbox', checked: view[name], onchange: () => { view[name] = box.checked; redraw(); } });
  return h('label', {}, box, ` ${title}`);
}

const redraw = () => redraws.forEach((draw) => draw());

function controls(scale = 'rows') {
  const slider = h('input', { type: 'range', min: 0, max: 1, step: 0.05, value: view.opacity, 'aria-label': 'Opacity of the photo over the map', oninput: () => { view.opacity = Number(slider.value); redraw(); } });
  return h('div', { class: 'controls', role: 'toolbar', 'aria-label': 'How maps are drawn' },
    choice(scale, 'Scale', [['shared', 'shared'], ['own', 'own']]),
    choice('sign', 'Sign', [['both', 'both'], ['for', 'for'], ['against', 'against']]),
    h('label', { class: 'slider' }, h('span', { class: 'quiet' }, 'Map'), slider, h('span', { class: 'quiet' }, 'Photo')),
    choice('colours', 'Colours', [['diverging', 'orange/blue'], ['paper', 'red/blue']]),
    tick('grey', 'grey photo'), tick('smooth', 'smooth'), tick('marks', '± marks'));
}
