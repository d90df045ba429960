// All classes in one table; a page per class; a page per pair.
const order = { column: 'accuracy', down: false };
const gapOf = (one) => one.confidence - one.correct / one.images;

const CLASS_COLUMNS = [
  ['name', 'Class', (index) => className(index).toLowerCase()],
  ['images', 'Images', (index, one) => one.images],
  ['accuracy', 'Accuracy', (index, one) => one.correct / one.images],
  ['label', 'p (label)', (index, one) => one.labelProbability],
  ['gap', 'Gap', (index, one) => gapOf(one)],
  ['wrong', 'Most often taken for', (index, one) => (one.confusions[0] || [0, 0])[1]],
];

function classesPage() {
  const [shown, total] = D.shown.classes;
  const body = h('tbody', {}), status = h('span', { class: 'quiet', role: 'status' });
  const search = h('input', { type: 'search', id: 'search', placeholder: 'Class name, wnid or index', 'aria-label': 'Search classes', oninput: () => fill() });
  const heads = CLASS_COLUMNS.map(([column, title]) => h('th', { class: column === 'name' || column === 'wrong' ? '' : 'n', scope: 'col' },
    h('button', { type: 'button', onclick: () => { order.down = order.column === column ? !order.down : column !== 'name' && column !== 'accuracy'; order.column = column; fill(); } }, title)));
  const fill = () => {
    const wanted = search.value.trim().toLowerCase();
    const key = CLASS_COLUMNS.find(([column]) => column === order.column)[2];
    const rows = Object.entries(D.classes).filter(([index]) => !wanted || `${fullName(index)} ${wnid(index)} ${index}`.toLowerCase().includes(wanted));
    rows.sort(([i, a], [j, b]) => { const x = key(i, a), y = key(j, b); return (x < y ? -1 : x > y ? 1 : 0) * (order.down ? -1 : 1) || i - j; });
    heads.forEach((head, i) => head.setAttribute('aria-sort', CLASS_COLUMNS[i][0] !== order.column ? 'none' : order.down ? 'descending' : 'ascending'));
    body.replaceChildren(...rows.map(([index, one]) => classRow(index, one)));
    status.textContent = wanted ? `${integer(rows.length)} classes match` : '';
  };
  fill();
  return [heading('Classes', h('span', { class: 'quiet' }, `${plural(total, 'class', 'classes')} with ${PARTIAL ? 'audited images' : 'images'}, ${D.overall.leftOut ? `of ${integer(total + D.overall.leftOut)} in the folder and the model's ` : "of the model's "}${integer(D.overall.labels)}`)),
    omittedNote(shown, total, 'classes'),
    h('div', { class: 'filters', role: 'search' }, search, status),
    h('table', { class: 'list classes' }, h('thead', {}, h('tr', {}, heads)), body)];
}

function classRow(index, one) {
  const accuracy = one.correct / one.images, [wrong, count] = one.confusions[0] || [];
  return h('tr', {}, h('td', {}, classLink(index), h('span', { class: 'quiet' }, ` ${ids(index)}`)),
    h('td', { class: 'n' }, integer(one.images)),
    h('td', { class: 'n' }, bar(accuracy, percent(accuracy)), percent(accuracy, 0)),
    h('td', { class: 'n' }, percent(one.labelProbability, 0)),
    h('td', { class: 'n' }, signed(Math.round(100 * gapOf(one)))),
    h('td', {}, count ? [classLink(wrong), h('span', { class: 'quiet' }, ` ${integer(count)}×`)] : h('span', { class: 'quiet' }, '–')));
}

function confusionTable(title, rows, total, label, rest) {
  const link = (index) => (rows.outgoing ? pairLink(label, index, 'pair') : pairLink(index, label, 'pair'));
  return h('section', {}, h('h2', {}, title),
    rows.list.length ? h('table', { class: 'list confusions' }, h('tbody', {}, rows.list.map(([index, count]) => h('tr', {},
      h('td', {}, classLink(index)), h('td', { class: 'n' }, integer(count)), h('td', {}, bar(count / total, '')), h('td', { class: 'n' }, link(index)))))) : h('p', { class: 'quiet' }, 'None.'),
    rest > 0 ? h('p', { class: 'quiet' }, `and ${plural(rest, 'other class', 'other classes')}`) : null);
}

function findingsAbout(test) {
  const rows = Object.entries(D.findings).filter(([, one]) => one.classes && one.classes.length < 20 && test(one.classes));
  if (!rows.length) return null;
  return h('section', { class: 'about' }, h('h2', {}, 'Findings here'), h('ul', { class: 'plain' }, rows.slice(0, 8).map(([rank, one]) =>
    h('li', {}, badge(one.severity), ' ', h('a', { href: `#/finding/${rank}` }, one.title)))),
    rows.length > 8 ? h('p', { class: 'quiet' }, `and ${integer(rows.length - 8)} more`) : null);
}

function classPage(index) {
  const one = D.classes[index], number = Number(index);
  if (!one) return null;
  const accuracy = one.correct / one.images, ends = wilson(one.correct, one.images);
  const incoming = Object.entries(D.classes).map(([from, other]) => [Number(from), (other.confusions.find(([to]) => to === number) || [0, 0])[1]])
    .filter(([, count]) => count).sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  const images = imagesOfClass(number);
  const photo = one.photo || (images.length ? D.images[images[0]][7] : '');
  const rivals = one.rivals.filter((rival) => D.pairs[`${index}/${rival}`]);
  return [
    h('nav', { class: 'crumbs', 'aria-label': 'Place' }, h('a', { href: '#/classes' }, 'Classes')),
    heading(h('bdi', {}, className(index)), h('span', { class: 'quiet' }, fullName(index) !== className(index) ? [h('bdi', {}, fullName(index)), ' · '] : null, ids(index))),
    h('dl', { class: 'stats' },
      stat('Images', integer(one.images), inFolder(index) > one.images ? `of ${integer(inFolder(index))} in the folder` : null),
      stat('Accuracy', percent(accuracy), `95 %: ${interval(ends, 0)}`),
      stat('Probability of the label', percent(one.labelProbability), 'mean'),
      stat('Confidence', percent(one.confidence), 'mean, of the prediction'),
      stat('Calibration gap', `${signed(Number((100 * gapOf(one)).toFixed(1)))} points`, gapOf(one) > 0 ? 'more sure than right' : 'less sure than right')),
    controls(),
    h('div', { class: 'columns three' },
      h('section', {}, h('h2', {}, one.images > 1 ? 'Mean map' : 'Map'), meanPanel(one, photo, meaning('label', number), 232,
        one.images > 1 ? `Mean of ${plural(one.images, 'map')} for the label, over the mean of the first photos.` : 'The map of the only image.')),
      confusionTable('Taken for', { list: one.confusions, outgoing: true }, one.images, number, one.confusionCount - one.confusions.length),
      h('div', {}, confusionTable('Others taken for it', { list: incoming.slice(0, 12) }, one.images, number, incoming.length - 12),
        findingsAbout((classes) => classes.includes(number)))),
    rivals.length ? h('h2', {}, 'Against its strongest rivals') : null,
    rivals.map((rival) => rivalSection(number, rival)),
    h('h2', {}, 'Images ', h('small', {}, images.length < one.images ? `${integer(images.length)} of ${integer(one.images)} images shown` : plural(images.length, 'image'))),
    legend(images, 'label'),
    strip(images, { from: `class/${index}`, map: 'label', line: (at) => ratingLine(imageOf(at)) })];
}

function ratingLine(image) {
  const right = image.prediction === image.label;
  return h('span', {}, right ? '✓ ' : '✗ ', h('bdi', {}, className(image.prediction)), ` ${percent(probabilityOf(image, image.prediction), 0)}`);
}

function rivalSection(label, rival) {
  const record = D.pairs[`${label}/${rival}`];
  return h('section', { class: 'rival' },
    h('h3', { class: 'pairtitle' }, h('a', { href: `#/pair/${label}/${rival}` }, `${className(label)} against ${className(rival)}`), ' ',
      h('small', {}, `strongest rival of ${plural(record.images, 'image')}, preferred by the model in ${integer(record.preferring)}`)),
    h('div', { class: 'beside' }, meanPanel(record, '', meaning('pair', label, rival), 150, 'Mean pair map.'), h('div', {}, pairStrips(label, rival, record))));
}

const byClass = new Map();
for (const [index, row] of Object.entries(D.images)) byClass.set(row[1], [...(byClass.get(row[1]) || []), Number(index)]);
const imagesOfClass = (index) => byClass.get(index) || [];

function pairPage(label, rival) {
  const record = D.pairs[`${label}/${rival}`], a = Number(label), b = Number(rival);
  if (!record) return null;
  const whole = D.classes[a], other = D.classes[b], reverse = D.pairs[`${b}/${a}`];
  return [
    h('nav', { class: 'crumbs', 'aria-label': 'Place' }, h('a', { href: '#/classes' }, 'Classes'), classLink(a),
      reverse ? h('span', { class: 'steps' }, pairLink(b, a, `⇄ ${className(b)} against ${className(a)}`)) : null),
    heading(h('span', {}, h('bdi', {}, className(a)), h('span', { class: 'against' }, ' against '), h('bdi', {}, className(b)))),
    h('dl', { class: 'stats' },
      stat('Images', integer(record.images), whole ? `of ${integer(whole.images)} labelled ${className(a)}` : ''),
      stat('Model prefers the rival', integer(record.preferring), percent(record.preferring / record.images, 0)),
      stat('Probability of the rival', percent(record.rivalProbability), 'mean over these images'),
      whole ? stat(`Accuracy of ${className(a)}`, percent(whole.correct / whole.images)) : null,
      other ? stat(`Accuracy of ${className(b)}`, percent(other.correct / other.images)) : null),
    controls(),
    h('div', { class: 'beside wide' },
      h('div', {}, meanPanel(record, whole ? whole.photo : '', meaning('pair', a, b), 232,
        `Mean of the pair maps of ${plural(record.images, 'image')} labelled ${className(a)} whose strongest rival is ${className(b)}.`),
        findingsAbout((classes) => classes.length === 2 && classes[0] === a && classes[1] === b)),
      h('div', {}, pairStrips(a, b, record), clearest(b, a))),
  ];
}

// Why there is nothing of a class here: it is not in the folder, or it was left out of the audit.
function nothingOf(index) {
  const name = className(index), all = inFolder(index);
  if (audited(index)) return `The page of ${name} was left out to keep this file small.`;
  if (all > 0) return `${name} is in the folder (${plural(all, 'image')}), but ${PARTIAL ? 'not among the sampled classes' : 'no image of it could be read'}.`;
  if (all < 0 && PARTIAL) return `${name} is not among the sampled classes.`;
  return `No image of the folder is labelled ${name}.`;
}

function clearest(index, against) {
  const one = D.classes[index];
  if (!one) return h('p', { class: 'quiet' }, nothingOf(index));
  if (!one.typical.length) return h('p', { class: 'quiet' }, `The model gets none of the images labelled ${className(index)} right.`);
  return h('section', { class: 'strips' }, h('h3', {}, 'For comparison: ', classLink(index), ' ', h('small', {}, `its clearest images, with the map for ${className(index)} alone`)),
    legend(one.typical, 'label'), strip(one.typical, { from: `class/${index}`, map: 'label', line: (at) => ratingLine(imageOf(at)) }));
}
