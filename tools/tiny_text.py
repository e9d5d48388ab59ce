"""Grammars that generate every text the embedded model is trained and tested on.

Two kinds of documents: fact sheets about people, places and things followed by questions with short full-sentence answers,
and small stories. Open-class names are built from syllables; a hash of the name decides, once and for all, whether it belongs
to training or is held out, so an evaluation never shows a name that training has shown.

A document is a list of `Piece`s. Concatenated, their texts are exactly what the chat template of the exported model renders
(or, for plain documents, a prompt in the "Question: ... Answer:" form), with the special tokens spelled out.
"""

import random
import zlib
from dataclasses import dataclass

BOS, END, SYSTEM, USER, ASSISTANT = "<s>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
PAD = "<pad>"
SPECIAL_TOKENS = [PAD, BOS, END, SYSTEM, USER, ASSISTANT]

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

ONSETS = "b br c ch d dr f fl g gr h j k kl l m n p pr r s sh st t th tr v w z".split() + ["", ""]
VOWELS = "a a a e e e i i o o o u ai ea ia oo".split()
CODAS = ["", "", "", "", "n", "n", "r", "l", "s", "m", "th", "nd", "ck", "x"]
PLACE_ENDINGS = ["ton", "ville", "ford", "field", "mouth", "burg", "wick", "dale", "port", "a", "ia", "o", "en", "is"]
COMMON_NAMES = ("Alice Anna Ben Bob Carla Clara David Ella Emma Eva Felix Finn George Grace Hugo Ida Jack Jane John Julia "
                "Karl Kate Leo Lily Lucas Lucy Maria Mark Max Mia Nina Noah Nora Olga Oscar Paul Peter Rosa Sam Sara Sofia "
                "Tom Vera Victor Will Zoe").split()

JOBS = ("baker farmer teacher doctor nurse painter sailor carpenter tailor weaver cook driver pilot singer dancer writer "
        "lawyer judge potter miner hunter gardener librarian plumber engineer artist actor officer banker butcher shepherd "
        "blacksmith fisher barber clerk astronomer").split()
COLORS = "red blue green yellow orange purple pink brown black white gray gold silver violet".split()
ANIMALS = ("cat dog rabbit parrot turtle goat horse mouse fox owl duck goose frog hamster lizard snake pony sheep crow "
           "hedgehog donkey eagle otter bear lion wolf").split()
FOODS = ("bread soup cheese rice pasta cake apples pears plums beans carrots fish eggs honey nuts pancakes salad potatoes "
         "mushrooms berries noodles pies tomatoes onions").split()
INSTRUMENTS = "piano guitar violin flute drum harp trumpet cello horn banjo organ accordion".split()
MONTHS = "January February March April May June July August September October November December".split()
HOBBIES = ("fishing painting swimming reading cooking running sailing singing dancing climbing knitting hiking writing "
           "gardening skating cycling chess drawing").split()
VEHICLES = "bicycle train bus boat car truck sled wagon motorcycle tram balloon canoe".split()
PRODUCTS = ("wine cheese glass wool salt silk clocks boots bells carpets candles paper honey tea ships swords roses pottery "
            "apples books hats knives toys").split()
BUILDINGS = "church castle tower bridge mill library school temple market theater inn lighthouse palace".split()
WEATHERS = "rainy sunny windy foggy cold hot stormy snowy cloudy dry mild".split()
MATERIALS = "wood iron copper glass stone clay bronze leather paper silver gold steel wool ivory tin marble".split()
ROOMS = "kitchen attic cellar garden hall library bedroom garage barn workshop tower office".split()
THING_ADJECTIVES = ("old new tiny heavy bright broken ancient round square tall short thin thick shiny dusty strange "
                    "pretty plain famous secret lost magic narrow wide simple curved").split()
THING_NOUNS = ("lamp chair table clock mirror sword box ring cup bowl bell key drum vase mask crown statue map book carpet "
               "bottle lantern knife chest basket ladder barrel kettle globe telescope wheel bench").split()


@dataclass(frozen=True)
class Attribute:
    """One thing that can be said of an entity: how a fact states it, how a question asks it, how the answer puts it.

    {n} stands for the entity, {v} for the value, {av} for the value with its indefinite article.
    """

    values: object  # a list of words, or a function of (rng, held_out)
    facts: tuple
    questions: tuple
    answer: str


@dataclass(frozen=True)
class Piece:
    """A run of text with one role: "context" (prompt text), "answer" (facts' answers), "story" (free text), each with its loss weight.

    `value` is the part of an answer that must be right, empty for other roles.
    """

    text: str
    role: str
    value: str = ""


@dataclass(frozen=True)
class Case:
    """One held-out question: the messages before it, the question and the expected value and sentence."""

    messages: tuple
    question: str
    value: str
    sentence: str


def with_article(noun):
    """The noun after "a" or "an"."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def sentence_case(text):
    """The text with its first letter in upper case."""
    return text[0].upper() + text[1:]


def is_held_out(name):
    """True for the tenth of all names that training never shows. Pure function of the name."""
    return zlib.crc32(name.encode()) % 10 == 0


def draw(rng, held_out, make):
    """Calls make() until its result lies on the wanted side of the held-out split."""
    while True:
        name = make()
        if is_held_out(name) == held_out:
            return name


def syllable(rng):
    return rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS)


def person_name(rng, held_out):
    """A person's name: most are new syllable words, a few are common names."""

    def make():
        if rng.random() < 0.1:
            return rng.choice(COMMON_NAMES)
        name = "".join(syllable(rng) for _ in range(rng.choice((2, 2, 2, 3))))
        return sentence_case(name[:9])

    return draw(rng, held_out, make)


def place_name(rng, held_out):
    """A place's name: one or two syllables and an ending that towns have."""
    return draw(rng, held_out, lambda: sentence_case(
        "".join(syllable(rng) for _ in range(rng.choice((1, 1, 2))))[:7] + rng.choice(PLACE_ENDINGS)))


def thing_name(rng, held_out):
    """A thing: "the", an adjective and a noun."""
    return draw(rng, held_out, lambda: f"the {rng.choice(THING_ADJECTIVES)} {rng.choice(THING_NOUNS)}")


def number_between(low, high):
    """A value function that draws a number in [low, high]."""
    return lambda rng, held_out: str(rng.randint(low, high))


PERSON = (
    Attribute(JOBS, ("{n} works as {av}.", "{n} is {av}."),
              ("What is the job of {n}?", "What does {n} do for work?", "What is {n}'s job?", "What does {n} work as?"),
              "{n} works as {av}."),
    Attribute(place_name, ("{n} lives in {v}.", "The home of {n} is in {v}."),
              ("Where does {n} live?", "In which place does {n} live?", "Where is the home of {n}?"), "{n} lives in {v}."),
    Attribute(number_between(7, 99), ("{n} is {v} years old.", "The age of {n} is {v} years."),
              ("How old is {n}?", "What is the age of {n}?"), "{n} is {v} years old."),
    Attribute(COLORS, ("The favorite color of {n} is {v}.", "{n}'s favorite color is {v}."),
              ("What is the favorite color of {n}?", "Which color does {n} like best?", "What is {n}'s favorite color?"),
              "The favorite color of {n} is {v}."),
    Attribute(ANIMALS, ("{n} has a pet {v}.", "{n} keeps {av} as a pet."),
              ("What pet does {n} have?", "Which animal does {n} keep?", "What kind of pet does {n} have?"),
              "{n} has a pet {v}."),
    Attribute(FOODS, ("{n} likes to eat {v}.", "{n}'s favorite food is {v}."),
              ("What does {n} like to eat?", "What is the favorite food of {n}?", "What is {n}'s favorite food?"),
              "{n} likes to eat {v}."),
    Attribute(INSTRUMENTS, ("{n} plays the {v}.", "{n} can play the {v}."),
              ("What instrument does {n} play?", "Which instrument can {n} play?"), "{n} plays the {v}."),
    Attribute(person_name, ("The best friend of {n} is {v}.", "{n}'s best friend is {v}."),
              ("Who is the best friend of {n}?", "Who is {n}'s best friend?"), "The best friend of {n} is {v}."),
    Attribute(person_name, ("The teacher of {n} is {v}.", "{n} was taught by {v}."),
              ("Who is the teacher of {n}?", "Who taught {n}?", "Who is {n}'s teacher?"), "The teacher of {n} is {v}."),
    Attribute(MONTHS, ("{n} was born in {v}.", "The birthday of {n} is in {v}."),
              ("When was {n} born?", "In which month was {n} born?", "When is the birthday of {n}?"), "{n} was born in {v}."),
    Attribute(HOBBIES, ("{n} enjoys {v}.", "The hobby of {n} is {v}."),
              ("What does {n} enjoy?", "What is the hobby of {n}?", "What is {n}'s hobby?"), "{n} enjoys {v}."),
    Attribute(VEHICLES, ("{n} travels by {v}.", "{n} goes to work by {v}."),
              ("How does {n} travel?", "How does {n} go to work?"), "{n} travels by {v}."),
)
PLACE = (
    Attribute(person_name, ("The mayor of {n} is {v}.", "{n} has a mayor named {v}."),
              ("Who is the mayor of {n}?", "What is the name of the mayor of {n}?"), "The mayor of {n} is {v}."),
    Attribute(place_name, ("The river {v} flows through {n}.", "The river in {n} is the {v}."),
              ("Which river flows through {n}?", "What is the river in {n}?"), "The river in {n} is the {v}."),
    Attribute(place_name, ("{n} is a town in {v}.", "{n} lies in the land of {v}."),
              ("In which land does {n} lie?", "In which country is {n}?", "Where is {n}?"), "{n} lies in the land of {v}."),
    Attribute(number_between(1100, 1990), ("{n} was founded in {v}.", "People founded {n} in {v}."),
              ("When was {n} founded?", "In which year was {n} founded?"), "{n} was founded in {v}."),
    Attribute(PRODUCTS, ("{n} is known for its {v}.", "{n} is famous for {v}."),
              ("What is {n} known for?", "What is {n} famous for?"), "{n} is known for its {v}."),
    Attribute(number_between(200, 9900), ("{n} has {v} people.", "There are {v} people in {n}."),
              ("How many people live in {n}?", "What is the population of {n}?"), "{n} has {v} people."),
    Attribute(BUILDINGS, ("The oldest building in {n} is {av}.", "{n} has an old {v}."),
              ("What is the oldest building in {n}?", "Which old building does {n} have?"), "The oldest building in {n} is {av}."),
    Attribute(WEATHERS, ("The weather in {n} is {v}.", "It is often {v} in {n}."),
              ("What is the weather like in {n}?", "How is the weather in {n}?"), "The weather in {n} is {v}."),
    Attribute(ANIMALS, ("The symbol of {n} is {av}.", "The flag of {n} shows {av}."),
              ("What is the symbol of {n}?", "Which animal is the symbol of {n}?"), "The symbol of {n} is {av}."),
)
THING = (
    Attribute(MATERIALS, ("{n} is made of {v}.", "{n} was made from {v}."),
              ("What is {n} made of?", "Which material is {n} made of?"), "{n} is made of {v}."),
    Attribute(person_name, ("The owner of {n} is {v}.", "{n} belongs to {v}."),
              ("Who owns {n}?", "Who is the owner of {n}?", "To whom does {n} belong?"), "The owner of {n} is {v}."),
    Attribute(person_name, ("{n} was built by {v}.", "The maker of {n} is {v}."),
              ("Who made {n}?", "Who built {n}?", "Who is the maker of {n}?"), "The maker of {n} is {v}."),
    Attribute(place_name, ("{n} comes from {v}.", "{n} was found in {v}."),
              ("Where does {n} come from?", "Where was {n} found?"), "{n} comes from {v}."),
    Attribute(number_between(10, 990), ("{n} costs {v} coins.", "The price of {n} is {v} coins."),
              ("How much does {n} cost?", "What is the price of {n}?"), "{n} costs {v} coins."),
    Attribute(number_between(2, 90), ("{n} weighs {v} pounds.", "The weight of {n} is {v} pounds."),
              ("How much does {n} weigh?", "What is the weight of {n}?", "How heavy is {n}?"), "{n} weighs {v} pounds."),
    Attribute(ROOMS, ("{n} stands in the {v}.", "{n} is kept in the {v}."),
              ("In which room is {n}?", "Where is {n} kept?", "Where does {n} stand?"), "{n} is kept in the {v}."),
    Attribute(COLORS, ("{n} is painted {v}.", "The color of {n} is {v}."),
              ("What color is {n}?", "What is the color of {n}?", "Which color does {n} have?"), "The color of {n} is {v}."),
)
KINDS = ((person_name, PERSON), (person_name, PERSON), (place_name, PLACE), (thing_name, THING))

INTRODUCTIONS = ("", "", "Here are some facts.", "Facts:", "Read the facts and answer the questions.",
                 "Answer the questions with these facts.", "You are a helpful assistant. Here is what you know.")
ASSISTANT_PROMPTS = ("", "", "You are a helpful assistant.")


def fill(pattern, name, value):
    """The pattern with entity and value in place, as a sentence."""
    return sentence_case(pattern.format(n=name, v=value, av=with_article(value)))


def fact_sheet(rng, size, count_tokens, held_out):
    """Facts of about `size` tokens. Returns (text, [(question, sentence, value)] with one entry per fact)."""
    blocks, queries, used, total = [], [], set(), 0
    while total < size:
        make_name, attributes = rng.choice(KINDS)
        name = make_name(rng, held_out)
        if name in used:
            continue
        used.add(name)
        sentences = []
        for attribute in rng.sample(attributes, rng.randint(2, min(7, len(attributes)))):
            values = attribute.values
            value = values(rng, held_out) if callable(values) else rng.choice(values)
            sentences.append(fill(rng.choice(attribute.facts), name, value))
            queries.append((fill(rng.choice(attribute.questions), name, value), fill(attribute.answer, name, value), value))
            total += count_tokens(sentences[-1])
            if total >= size:
                break
        blocks.append(sentences)
    if rng.random() < 0.15:  # facts of all entities mixed
        flat = [sentence for block in blocks for sentence in block]
        rng.shuffle(flat)
        blocks = [flat]
    introduction = rng.choice(INTRODUCTIONS)
    lines = ([introduction] if introduction else []) + [" ".join(block) for block in blocks]
    return rng.choice((" ", " ", "\n")).join(lines), queries


def fact_document(rng, size, num_questions, count_tokens):
    """A fact sheet of about `size` tokens and questions on it, in one of three layouts."""
    text, queries = fact_sheet(rng, size, count_tokens, held_out=False)
    rng.shuffle(queries)
    queries = queries[:num_questions]
    layout = rng.random()
    if layout < 0.2:  # a plain prompt, no chat
        pieces = [Piece(BOS + text, "context")]
        for question, sentence, value in queries:
            pieces += [Piece(f"\n\nQuestion: {question}\nAnswer:", "context"), Piece(f" {sentence}{END}", "answer", value)]
            if rng.random() < 0.5:
                break
        return pieces
    pieces = []
    opening = chat_opening(rng, text, queries[0][0], in_system=layout < 0.6)
    for turn, (question, sentence, value) in enumerate(queries):
        prompt = opening if turn == 0 else USER + question + END
        pieces += [Piece(prompt + ASSISTANT, "context"), Piece(sentence + END, "answer", value)]
    return pieces


def chat_opening(rng, facts, question, in_system):
    """The turns up to and with the first question; the facts lie in the system or the user turn."""
    if in_system:
        return f"{BOS}{SYSTEM}{facts}{END}{USER}{question}{END}"
    prompt = rng.choice(ASSISTANT_PROMPTS)
    system = SYSTEM + prompt + END if prompt else ""
    return f"{BOS}{system}{USER}{facts}{rng.choice(SEPARATORS)}{question}{END}"


SEPARATORS = (" ", "\n", "\n\n", "\n\nQuestion: ")


def held_out_case(rng, low, high, count_tokens):
    """A question on a held-out fact sheet of low..high tokens, the facts in the system turn or the first user turn."""
    size = rng.randint(low, high)
    text, queries = fact_sheet(rng, size, count_tokens, held_out=True)
    question, sentence, value = rng.choice(queries)
    if rng.random() < 0.5:
        messages = (("system", text), ("user", question))
    else:
        messages = (("user", f"{text}\n\n{question}"),)
    return Case(messages, question, value, sentence)


def render(messages):
    """The chat template applied to (role, content) pairs, with the generation prompt."""
    return BOS + "".join(f"<|{role}|>{content}{END}" for role, content in messages) + ASSISTANT


HEROES = ("girl", "boy", "fox", "bear", "cat", "dog", "rabbit", "mouse", "owl", "duck", "king", "queen", "farmer", "sailor",
          "baker", "turtle", "frog", "wizard", "pony", "robot")
TRAITS = "kind brave shy clever funny quiet curious happy lonely sleepy little young".split()
SETTINGS = ("in a small house near the forest", "in a village by the sea", "at the foot of a high mountain",
            "on a farm with many trees", "in a castle on a hill", "beside a quiet lake", "in a busy town")
TREASURES = ("a golden key", "a small red box", "a shiny stone", "an old map", "a silver bell", "a blue feather", "a tiny door",
             "a warm lantern", "a lost letter")
PLACES = ("in the garden", "under a big tree", "near the river", "behind the old mill", "on the beach", "in a dark cave",
          "on top of the hill")
HELPERS = ("an old owl", "a friendly bird", "a small mouse", "a wise woman", "a tall man", "a young deer", "a green frog")
FEELINGS = "sad afraid worried tired hungry cold".split()
GIFTS = ("a warm soup", "some bread", "a red scarf", "a kind word", "a sweet apple", "a soft blanket")
LESSONS = ("It is good to help others", "A friend makes every road short", "Being kind is better than being strong",
           "It is brave to ask for help", "Small things can be great treasures", "It is good to share")


def story(rng):
    """A request for a story and the story, about a hero whose name and kind the request may give."""
    hero, trait, name = rng.choice(HEROES), rng.choice(TRAITS), person_name(rng, held_out=False)
    female = hero in ("girl", "queen") or (hero not in ("boy", "king") and rng.random() < 0.5)
    he, him, his = ("she", "her", "her") if female else ("he", "him", "his")
    subject = rng.choice((f"{with_article(hero)} named {name}", f"{with_article(f'{trait} {hero}')}", with_article(hero),
                          f"{with_article(f'{trait} {hero}')} named {name}", name))
    treasure, place, helper, gift = rng.choice(TREASURES), rng.choice(PLACES), rng.choice(HELPERS), rng.choice(GIFTS)
    it = "the " + treasure.split(" ", 1)[1]
    friend = "the " + helper.split(" ", 1)[1]
    request = rng.choice(("Tell me a story about {}.", "Please tell me a story about {}.", "Write a story about {}.",
                          "Can you tell me a story about {}?", "Tell me a short story about {}.", "Tell me a story about {}"))
    opening = rng.choice((f"Once upon a time, there was {with_article(f'{trait} {hero}')} named {name}.",
                          f"There once was {with_article(f'{trait} {hero}')} named {name}."))
    home = rng.choice((f"{name} lived {rng.choice(SETTINGS)}.", f"{sentence_case(he)} lived {rng.choice(SETTINGS)}."))
    plots = (
        [f"One day, {name} found {treasure} {place}.", f"{sentence_case(he)} did not know whose it was.",
         f"Then {name} met {helper}.", f'"Is this yours?" asked {name}.', f'"Yes, thank you!" said {friend}.',
         f"{sentence_case(friend)} gave {him} {gift}, and they became good friends."],
        [f"One morning, {name} lost {treasure} {place}.", f"{sentence_case(he)} was very {rng.choice(FEELINGS)}.",
         f"{sentence_case(helper)} saw {him} and wanted to help.", f"They looked for {it} all day.",
         f"At last they found {it} {rng.choice(PLACES)}.", f"{name} was so happy that {he} danced."],
        [f"One evening, {name} saw {helper} {place}.", f"{sentence_case(friend)} was {rng.choice(FEELINGS)}.",
         f"So {name} brought {gift}.", f"{sentence_case(friend)} smiled and gave {him} {treasure}.",
         f"{name} took {it} home and kept it for many years."],
        [f"Every day, {name} dreamed of {treasure}.", f'"I will go and find it," {he} said.',
         f"{sentence_case(he)} walked for a long time and was {rng.choice(FEELINGS)}.",
         f"Then {helper} showed {him} the way.", f"{sentence_case(it)} was {place}.", f"{name} shared it with all {his} friends."],
    )
    ending = rng.choice((f"{rng.choice(LESSONS)}.", f"From that day on, {name} was never lonely again.",
                         f"That night, {name} slept very well.", f'"{rng.choice(LESSONS)}," said {name}.'))
    text = " ".join([opening, home, *rng.choice(plots), ending])
    return request.format(subject), text


SMALL_TALK = (
    (("Hello!", "Hi!", "Hello", "Hi there!", "Good morning!"), "Hello! How can I help you?"),
    (("Who are you?", "What are you?", "What is your name?"), "I am a small language model."),
    (("What can you do?", "How can you help me?"), "I can answer questions about facts that you give me, and tell small stories."),
    (("Thank you!", "Thanks!", "Thank you very much."), "You are welcome!"),
    (("Goodbye!", "Bye!"), "Goodbye!"),
)


def free_document(rng):
    """A chat without facts: one to three turns of stories and small talk."""
    prompt = rng.choice(ASSISTANT_PROMPTS)
    head = BOS + (SYSTEM + prompt + END if prompt else "")
    pieces = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        if rng.random() < 0.75:
            request, reply = story(rng)
        else:
            requests, reply = rng.choice(SMALL_TALK)
            request = rng.choice(requests)
        pieces += [Piece(head + USER + request + END + ASSISTANT, "context"), Piece(reply + END, "story")]
        head = ""
    return pieces


def sample_corpus(seed, num_documents):
    """Plain text to train the tokenizer on: facts, questions, answers and stories, no special tokens."""
    rng = random.Random(seed)
    for _ in range(num_documents):
        text, queries = fact_sheet(rng, 40, lambda sentence: len(sentence) // 4, held_out=False)
        yield text
        for question, sentence, _ in queries:
            yield question
            yield sentence
        yield " ".join(story(rng))
    for requests, reply in SMALL_TALK:
        yield from (*requests, reply)
    yield from (*INTRODUCTIONS, *ASSISTANT_PROMPTS, "\n\nQuestion: ", "\nAnswer:")
