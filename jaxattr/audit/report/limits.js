// What this audit cannot see: a box on the first page, and a page with the table of power.
const PARTIAL = D.overall.partial;
const stamp = () => (PARTIAL ? h('span', { class: 'badge partial', title: `${integer(D.overall.count)} of ${integer(D.overall.total)} images were audited` }, 'PARTIAL') : null);
const SAID = 4;

function limitsBox() {
  const said = D.limits.sentences.filter((text) => !text.startsWith('PARTIAL'));
  if (!said.length) return null;
  return h('section', { class: 'limits', 'aria-labelledby': 'cannot' },
    h('h2', { id: 'cannot' }, 'What this audit cannot see'),
    h('ul', {}, said.slice(0, SAID).map((text) => h('li', {}, h('bdi', {}, text.replaceAll(' %', '\u00a0%'))))),
    h('p', {}, h('a', { href: '#/limits' }, said.length > SAID ? `${said.length - SAID} more, and power by class size` : 'Power by class size')));
}

const rate = (value) => (known(value) ? percent(value, 0) : 'at no rate');
const needed = (value) => (known(value) ? integer(value) : '–');

function powerTable() {
  const rows = D.limits.sizes.map(([low, high, classes, unlike, alike, counts, least]) => h('tr', {},
    h('td', {}, low === high ? integer(low) : `${integer(low)}–${integer(high)}`),
    [classes, rate(unlike), rate(alike), least].map((value) => h('td', { class: 'n' }, typeof value === 'number' ? integer(value) : value)),
    counts.map(([first, second]) => h('td', { class: 'n' }, `${needed(first)} / ${needed(second)}`))));
  const heads = [PARTIAL ? 'Audited images' : 'Images', 'Classes', 'Unlike class', 'Most alike class', 'At least'];
  return h('div', { class: 'scroll' }, h('table', { class: 'list power' },
    h('thead', {}, h('tr', {}, h('th', {}), h('th', {}), h('th', { class: 'n', colspan: 2 }, 'Found from this rate on, into the'), h('th', { class: 'n' }, 'Moved images'), h('th', { class: 'n', colspan: 3 }, 'Images needed, unlike / most alike')),
      h('tr', {}, heads.map((text, i) => h('th', { class: i ? 'n' : '', scope: 'col' }, text)), ['at 2 %', 'at 5 %', 'at 10 %'].map((text) => h('th', { class: 'n', scope: 'col' }, text)))),
    h('tbody', {}, rows)));
}

function limitsPage() {
  const of = D.limits, [refused, small] = of.counts, total = of.sizes.reduce((sum, one) => sum + one[2], 0);
  const list = (title, count, classes, note) => count ? [h('h2', {}, title, ' ', h('small', {}, plural(count, 'class', 'classes'))), h('p', { class: 'quiet' }, note),
    h('p', {}, classes.map((index, i) => [i ? ', ' : '', classLink(index)]), count > classes.length ? ` and ${integer(count - classes.length)} more` : '')] : null;
  return [heading('Limits'), h('p', { class: 'lead' }, 'What this audit cannot see. No finding is no proof of a clean folder.'),
    of.sentences.length ? h('ul', {}, of.sentences.map((text) => h('li', {}, h('bdi', {}, text.replaceAll(' %', '\u00a0%'))))) : h('p', {}, 'Every image was read, every finder was run.'),
    of.sizes.length ? [h('h2', {}, 'Power by class size'), h('p', { class: 'quiet' }, `Contamination a ← b: images of b in the folder of a. Of each class b, what rate the test finds with 80 % power among ${integer(of.tests)} ordered pairs, and how many images of b it needs for a given rate; medians over classes. Estimated on ${PARTIAL ? 'the audited images' : "this ledger's own images"}.`), powerTable()] : null,
    list(PARTIAL ? 'With too few audited images to test' : 'Too small to test', small < total ? small : 0, of.small, 'Not even half of such a class, moved to another folder, would be certified.'),
    list('Not known to the model', refused, of.refused, 'Refused by the gate; each has a finding that says why.'),
    D.overall.skipped || unlooked() ? h('p', {}, h('a', { href: '#/skipped' }, 'What was not read or not looked at')) : null];
}
