// English: the language all others follow. A value is a text, or its plural
// forms by Intl.PluralRules.

export default {
  home: 'Vote, to the feed',
  close: 'Close',
  loading: 'Loading',
  now: 'now',
  percent: '{n}%',

  // The feed
  feed: 'Polls',
  actions: 'Actions',
  filter: 'Filter',
  new: 'New',
  hot: 'Hot',
  popular: 'Popular',
  search: 'Search',
  searchHint: 'Search polls',
  skip: 'Skip',
  next: 'Next',
  again: 'Try again',
  create: 'Create a poll',
  me: 'Your page',
  signIn: 'Sign in',
  signUp: 'Sign up',
  signOut: 'Sign out',
  votesLeft: { one: '{count} vote left today', other: '{count} votes left today' },

  // A card
  final: 'One choice, final',
  yourVote: 'Your vote',
  share: 'Share',
  live: 'Live',
  notLive: 'Not live at the moment',
  gone: 'This poll is closed',
  votesWord: { one: 'vote', other: 'votes' },
  countVotes: { one: '{count} vote', other: '{count} votes' },
  countSkips: { one: '{count} skip', other: '{count} skips' },

  // The ends of the feed
  'limit.title': 'That was all for today',
  'limit.text': { one: 'Your {count} vote of the day is cast. You can still skip and look around.', other: 'Your {count} votes of the day are cast. You can still skip and look around.' },
  'limit.until': 'New votes in {hours} h {minutes} min',
  'end.title': 'You have seen everything',
  'end.text': 'There is nothing left that you have not voted on or skipped. Ask something yourself?',
  'end.check': 'Look for new polls',
  'end.all': 'All polls',
  'end.nothing': 'Nothing here',
  'end.nothingText': 'No poll that you have not seen fits.',
  'end.visitor': 'There is much more',
  'end.visitorText': 'With an account you vote, get every poll just once, and can ask your own.',
  'end.offline': 'No network',
  'end.offlineText': 'What you do now is kept and sent when you are back.',
  'end.failed': 'That did not work',

  // Votes on their way
  offline: 'No network',
  'offline.waiting': { one: 'No network. {count} choice is kept and will be sent.', other: 'No network. {count} choices are kept and will be sent.' },
  waiting: { one: '{count} choice waits to be sent', other: '{count} choices wait to be sent' },
  replayed: { one: '{count} choice was sent and counted', other: '{count} choices were sent and counted' },
  counted: 'Your vote for “{option}” is sent',
  ended: 'Your session has ended. What is not sent is kept.',
  'refused.already_voted': 'You had voted on “{title}” before. The first vote counts.',
  'refused.poll_closed': '“{title}” was closed. Your vote was not counted.',
  'refused.not_found': '“{title}” is gone. Your vote was not counted.',
  'refused.daily_vote_limit': 'No votes were left that day. Your vote on “{title}” was not counted.',
  'refused.not_kept': 'Your browser could not keep your choice on “{title}”. It was not sent.',
  'refused.other': 'Your vote on “{title}” was not counted.',

  // Errors, by the codes of the API
  'error.offline': 'No network.',
  'error.noAnswer': 'The server does not answer. Try again in a moment.',
  'error.internal': 'Something went wrong on our side.',
  'error.busy': 'The server is busy. Try again in a moment.',
  'error.rate_limited': { one: 'Too fast. Try again in {count} second.', other: 'Too fast. Try again in {count} seconds.' },
  'error.invalid_credentials': 'This e-mail address and password do not fit.',
  'error.wrong_password': 'That is not your password.',
  'error.banned': 'This account was closed.',
  'error.email_taken': 'There is an account with this e-mail address.',
  'error.username_taken': 'This name is taken.',
  'error.not_found': 'There is no such poll.',
  'error.poll_closed': 'This poll is closed.',
  'error.has_votes': 'A poll that has votes stays.',
  'error.daily_vote_limit': 'You have cast all votes of today. New ones come at midnight UTC.',
  'error.daily_poll_limit': 'You have made all polls of today. Try again tomorrow.',
  'error.invalid': 'Something is not right yet.',
  'error.invalid_option': 'There is no such option.',
  'error.already_voted': 'You have voted on this poll.',
  'error.unauthorized': 'Sign in first.',

  // Updates of the app
  update: 'There is a new version.',
  'update.now': 'Reload',

  // Asking a visitor to sign in
  'welcome.title': 'One step and your vote counts',
  'welcome.text': 'Your choice is kept: “{option}”.',

  // The page of a poll
  'poll.feed': 'To the feed',
  'poll.none': 'This poll is not here',
  'poll.noneText': 'The link may be wrong, or the poll was taken away.',
  'poll.yours': 'Your polls',

  // Votes over time
  'chart.title': 'Votes over time',
  'chart.hour': 'Hours',
  'chart.day': 'Days',
  'chart.none': 'No votes yet',
  'chart.gist': 'Votes for each option added up, from {from} to {to}: {total} in all, {count} for “{option}”, which leads.',
  'chart.now': 'now',
  'chart.rest': { one: 'and {count} more option, drawn thin', other: 'and {count} more options, drawn thin' },
  'chart.table': 'As a table',
  'chart.hourCaption': 'New votes in each hour that had any',
  'chart.dayCaption': 'New votes on each day (UTC) that had any',
  'chart.time': 'Time',
  'chart.all': 'All',

  // Passing a poll on
  'share.link': 'Link',
  'share.copy': 'Copy',
  'share.copied': 'Copied',
  'share.other': 'Share with an app',
  'share.code': 'QR code of the link',
  'share.image': 'Picture',
  'share.imageAlt': 'The poll “{title}” with its results, as a picture',
  'share.save': 'Save the picture',
  'share.frame': 'On your page',
  'share.frameText': 'HTML',

  // Keys
  'help.title': 'Keys',
  'help.digits': 'Vote for an option',
  'help.skip': 'Skip, or go on after a vote',
  'help.arrows': 'Move without skipping',
  'help.search': 'Search',
  'help.help': 'This help',
};
