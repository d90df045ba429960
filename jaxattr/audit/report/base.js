// Data, DOM and words. Text from outside (files, labels) enters the page as text nodes only.
const D = JSON.parse(document.getElementById('data').textContent);
const [ROWS, COLUMNS] = D.run.grid;
const page = document.getElementById('page');

// Names may hold line breaks, escapes, and marks that turn the direction of whole lines.
const HIDDEN = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;
const printable = (text) => text.replace(HIDDEN, (one) => {
  const code = one.charCodeAt(0), named = { 9: '\\t', 10: '\\n', 13: '\\r' }[code];
  return named || (code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`);
});

function h(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : printable(String(value)));
  }
  const shown = children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false);
  node.append(...shown.map((one) => (one instanceof Node ? one : printable(String(one)))));
  return node;
}

const className = (index) => (D.names[index] || [`class ${index}`])[0];
const fullName = (index) => (D.names[index] || ['', `class ${index}`])[1];
const wnid = (index) => (D.names[index] || ['', '', ''])[2];
const ids = (index) => [`class ${index}`, wnid(index)].filter((one) => one && !fullName(index).includes(one)).join(' · ');
// Images of a class in the whole folder, audited or not; -1 where that is not known.
const inFolder = (index) => (D.names[index] || [0, 0, 0, -1])[3];
const audited = (index) => Boolean((D.names[index] || [])[4]);
const integer = (value) => Number(value).toLocaleString('en-US');
const plural = (count, one, many) => `${integer(count)} ${count === 1 ? one : many || one + 's'}`;
const known = (value) => value !== null && value !== undefined;

// Rounding never turns "nearly all" into "all", nor "hardly any" into "none".
function percent(value, digits = 1) {
  if (!known(value)) return '–';
  const text = (100 * value).toFixed(digits), step = (10 ** -digits).toFixed(digits);
  if (value < 1 && Number(text) === 100) return `>\u00a0${(100 - Number(step)).toFixed(digits)}\u00a0%`;
  if (value > 0 && Number(text) === 0) return `<\u00a0${step}\u00a0%`;
  return `${text}\u00a0%`;
}

function figure(value, digits = 3) {
  if (!known(value)) return '–';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e5) {
    const [mantissa, exponent] = value.toExponential(digits - 1).split('e');
    return `${mantissa} × 10${superscript(exponent)}`.replace(/^-/, '−');
  }
  return String(Number(value.toPrecision(digits))).replace(/^-/, '−');
}

function superscript(text) {
  const digits = '⁰¹²³⁴⁵⁶⁷⁸⁹';
  return [...String(Number(text))].map((one) => (one === '-' ? '⁻' : digits[one])).join('');
}

const signed = (value, digits = 3) => (value > 0 ? '+' : '') + figure(value, digits);

function wilson(correct, total) {
  const z = 1.959964, share = correct / total, center = share + (z * z) / (2 * total);
  const half = z * Math.sqrt((share * (1 - share)) / total + (z * z) / (4 * total * total));
  const norm = 1 + (z * z) / total;
  return [(center - half) / norm, (center + half) / norm].map((end) => Math.min(1, Math.max(0, end)));
}

const interval = (ends, digits = 1) =>
  ends.every((end) => end >= 0 && end <= 1)
    ? `${(100 * ends[0]).toFixed(digits)}–${(100 * ends[1]).toFixed(digits)} %`
    : ends.map((end) => figure(end)).join(' to ');

const fileName = (path) => h('bdi', { class: 'file' }, path);
const lastPart = (path) => path.slice(path.lastIndexOf('/') + 1);

function classLink(index) {
  const shown = D.classes[index];
  const name = h('bdi', {}, className(index));
  return shown ? h('a', { href: `#/class/${index}`, title: fullName(index) }, name) : h('span', { title: fullName(index) }, name);
}

function pairLink(label, rival, text) {
  return D.pairs[`${label}/${rival}`] ? h('a', { href: `#/pair/${label}/${rival}` }, text) : null;
}

function stat(name, value, note, title) {
  return h('div', { class: 'stat', title }, h('dt', {}, name), h('dd', {}, value, note ? h('small', {}, note) : null));
}

function heading(title, ...beside) {
  return h('div', { class: 'heading' }, h('h1', { tabindex: '-1' }, title), ...beside);
}

const omittedNote = (shown, total, what) =>
  shown < total ? h('p', { class: 'note' }, `${integer(shown)} of ${integer(total)} ${what} shown; the rest were left out to keep this file small.`) : null;

function bar(share, label) {
  const fill = h('span', { class: 'fill' });
  fill.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return h('span', { class: 'bar', title: label }, fill);
}

// [file, label, prediction, rival, classes, maps, scales, photo, hash, additive] of an image that has a page.
function imageOf(index) {
  const row = D.images[index];
  if (!row) return null;
  const [file, label, prediction, rival, classes, maps, scales, photo, hash, additive] = row;
  return { index: Number(index), file, label, prediction, rival, classes, maps, scales, photo, hash, additive };
}

const logitOf = (image, index) => image.classes.find((one) => one[0] === index)[2];
const probabilityOf = (image, index) => image.classes.find((one) => one[0] === index)[1];
const photoUrl = (text) => `data:image/webp;base64,${text}`;

const findingsOf = new Map();
for (const [rank, one] of Object.entries(D.findings))
  for (const index of one.images || []) findingsOf.set(index, [...(findingsOf.get(index) || []), Number(rank)]);

function copyButton(lines) {
  const button = h('button', { type: 'button', onclick: async () => {
    const text = lines.join('\n') + '\n';
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = h('textarea', {});
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand('copy');
      area.remove();
    }
    button.textContent = 'Copied';
    setTimeout(() => (button.textContent = title), 1500);
  } });
  const title = `Copy ${plural(lines.length, 'file name')}`;
  button.textContent = title;
  return button;
}
