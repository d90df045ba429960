// Routes in the hash, keys, and the theme.
const scrolls = new Map();
let current = '', clicked = false;

function route(hash) {
  const [path, query = ''] = hash.replace(/^#\/?/, '').split('?');
  const parts = path.split('/'), from = decodeURIComponent((query.match(/(?:^|&)from=([^&]*)/) || ['', ''])[1]);
  if (parts[0] === '') return ['findings', 'Findings', findingsPage()];
  if (parts[0] === 'classes') return ['classes', 'Classes', classesPage()];
  if (parts[0] === 'limits') return ['limits', 'Limits', limitsPage()];
  if (parts[0] === 'protocol') return ['protocol', 'Protocol', protocolPage()];
  if (parts[0] === 'skipped') return ['findings', 'Skipped images', skippedPage()];
  if (parts[0] === 'finding') return ['findings', `Finding ${parts[1]}`, findingPage(parts[1])];
  if (parts[0] === 'class') return ['classes', className(parts[1]), classPage(parts[1])];
  if (parts[0] === 'pair') return ['classes', `${className(parts[1])} against ${className(parts[2])}`, pairPage(parts[1], parts[2])];
  if (parts[0] === 'image') return [from.startsWith('finding') ? 'findings' : 'classes', `Image ${parts[1]}`, imagePage(parts[1], from)];
  return ['', 'Not found', null];
}

function protocolPage() {
  const content = document.getElementById('protocol').content.cloneNode(true);
  const rows = Object.entries(D.shown).filter(([, [shown, total]]) => shown < total);
  content.getElementById('omitted').append(rows.length
    ? h('div', {}, h('h3', {}, 'Left out to keep this file small'), h('ul', {}, rows.map(([name, [shown, total]]) => h('li', {}, `${name}: ${integer(shown)} of ${integer(total)} ${name === 'images' ? 'have a page' : 'shown'}`))))
    : h('p', {}, 'Nothing was left out of this file for its size.'));
  return [...content.children];
}

function show() {
  const hash = location.hash || '#/';
  if (hash === '#page') return;
  if (current) scrolls.set(current, window.scrollY);
  const first = current === '';
  current = hash;
  redraws = [];
  const [name, title, content] = route(hash);
  page.replaceChildren(...(content || [heading('Not in this report'), h('p', { class: 'lead' }, 'This page was left out to keep the file small, or does not exist. '), h('a', { href: '#/' }, 'To the findings')]).flat(Infinity).filter(Boolean));
  document.title = `${PARTIAL ? 'PARTIAL – ' : ''}${title} – jaxattr audit`;
  document.body.dataset.page = hash.replace(/^#\/?/, '').split(/[/?]/)[0] || 'findings';
  for (const link of document.querySelectorAll('.top nav a')) {
    if (link.dataset.page === name) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  const title1 = page.querySelector('h1');
  if (!first && title1) title1.focus({ preventScroll: true });
  window.scrollTo(0, clicked ? 0 : scrolls.get(hash) || 0);
  clicked = false;
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches('input, select, textarea');
  if (event.key === 'Escape') {
    if (typing) return event.target.blur();
    const back = document.querySelector('#back, .crumbs a');
    if (back) location.hash = back.getAttribute('href');
    return;
  }
  if (typing) return;
  if (document.body.dataset.page === 'findings' && (event.key === 'j' || event.key === 'k')) {
    const titles = [...document.querySelectorAll('.finding .title')], at = titles.indexOf(document.activeElement);
    const to = titles[event.key === 'j' ? at + 1 : at - 1];
    if (to) to.focus();
    return;
  }
  const id = { ArrowLeft: 'previous', k: 'previous', ArrowRight: 'next', j: 'next' }[event.key];
  const link = id && document.getElementById(id);
  if (link && link.href) {
    event.preventDefault();
    location.replace(link.href);
  }
  const search = event.key === '/' && document.getElementById('search');
  if (search) {
    event.preventDefault();
    search.focus();
  }
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  redraw();
}

const dark = () => (document.documentElement.dataset.theme || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';
document.getElementById('theme').addEventListener('click', () => {
  const name = dark() ? 'light' : 'dark';
  setTheme(name);
  try { localStorage.setItem('jaxattr-theme', name); } catch { /* a page from a file may have no storage */ }
});
try {
  const saved = localStorage.getItem('jaxattr-theme');
  if (saved) document.documentElement.dataset.theme = saved;
} catch { /* as above */ }
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => redraw());

history.scrollRestoration = 'manual';
document.addEventListener('click', (event) => { clicked = Boolean(event.target.closest('a')); });
document.addEventListener('keydown', key);
window.addEventListener('hashchange', show);
show();
